"""Reading: from file versions to buffers, in place where a segment is mapped.

`reader` carries a batched read out; `read_operation` decides whom it asks, and `pages` how finely. `leases` keeps the
segments that are mapped here. `prefetch`, `read_ahead` and `small_files` say what will be read soon; `file` is the file object.
"""
