"""Where a worker's bytes are, and where they come from. What is here blocks, and is called from threads.

`stores` is the way in for both tiers: `plasma` keeps segments in Ray's object store, `disk` keeps them as files. `loader`
reads what is missing from the lake, or from other workers (`peers`); `assembly` puts what it brought into the object store
without another copy, and `allocator` keeps the memory of its buffers from one read to the next.
"""
