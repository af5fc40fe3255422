"""What the master counts, and never loses.

`nodes` has the totals per node, `attribution` per reader, `history` over the last 15 minutes; `watch` puts them together for
those who show the cache, and `checkpoint` is what of them outlives the master.
"""
