"""What a worker counts, and says of itself.

`readings` takes the counts of the node's readers on their way to the master. For metrics `series` sums them by mount and job,
`lake_meter` counts what is asked of the lake, and `exporter` hands both to Ray. `self_check` looks at disk and lake when
the doctor asks.
"""
