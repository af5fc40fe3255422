"""Reading: from file versions and byte ranges to buffers, in place where a segment is mapped.

`reader` is the way in: it cuts ranges into parts, looks for them in `leases` (the segments that this process has mapped), and
asks workers for the rest. `read_operation` decides which worker is asked for a part, and `next_steps` holds the table of what
happens after each answer; `bypass` reads what is left from the lake. `pages` decides which parts are asked for in pages
instead of blocks. `spans` says where bytes are, and `to_bytes` copies them for callers that want `bytes`. `file` is the file
object, made of a `positioned` one that reads by position.

Three modules look ahead: `read_ahead` within one open file, `small_files` along a directory, and `prefetch` turns what they
find into calls to workers.
"""
