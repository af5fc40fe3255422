"""What a worker holds, as a state machine over both tiers. All pure.

`tiers` is the way in: it makes room, moves copies between the tiers, and gives them up. A `segment` is one buffer of blocks,
whose `entry_table` lists them; `segments` are all of them with the index of their blocks (`block_index`, `packed_index`).
`ledger` counts bytes, `copies` are those under way, and `absences` remember why a block is not here.

What goes first is a matter of `eviction`; `compaction` rewrites what is mostly waste, `rule_keeping` drops what the rules do
not allow, by the `rule_books`, and what a restart keeps is chosen in `walks/adoption`. `invariants` says what is always true.
"""
