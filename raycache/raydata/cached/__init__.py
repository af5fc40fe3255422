"""Datasets cached after their transforms, and memoized functions: results that the cache keeps by what they were made of.

`datasets` is the door. `pipelines` looks at what comes before it, `sources` at the files it reads, `file_groups` cuts those into
groups, each of which is one result. `group_reads` is what a read task does: take the result, or make and keep it. `shelf` speaks
with the cache, `kept_blocks` is how blocks lie in it, and `kept_source` puts all that into Ray Data.
"""
