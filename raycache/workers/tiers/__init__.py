"""What a worker holds: `tiers` is the state machine; `segments` and the indexes say where each block is, `ledger` counts bytes.

`eviction`, `compaction`, `rule_books` and `rule_keeping` decide what goes; `adoption` what a restart keeps. All pure.
"""
