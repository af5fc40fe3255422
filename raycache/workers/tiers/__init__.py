"""What a worker holds: `tiers` is the state machine, `ledger` counts bytes.

`segment` is one buffer of blocks; `segments` and the indexes say where each block is. `eviction`, `compaction`, `rule_books`
and `rule_keeping` decide what goes; `adoption` what a restart keeps. All pure.
"""
