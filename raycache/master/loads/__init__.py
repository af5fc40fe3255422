"""Load jobs, from paths or given files to resident blocks.

`job` is one job as plain state, with its `backlog` of `pieces`, its `tally` and its `survey`; `files` holds its files, packed.
`board` has all jobs, and decides which goes next; `pacing` is how fast. `driver` sends batches to workers, `expansion` lists
what paths mean; these two wait for others, all else is pure.
"""
