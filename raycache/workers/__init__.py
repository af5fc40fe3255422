"""One worker per node: it holds blocks in memory and on disk, serves them, and loads what is missing.

`service` decides, without I/O, and answers every event with `effects`. A request becomes a ticket (`tickets`); the
`answer_table` says what becomes of each block, `claims` whether another worker loads it, and `loading` takes a missing one
from its flight (`flights`) to its landing. `selection` answers questions about what is here; `capacity` holds the numbers a
worker lives by. `carrier` carries effects out, over ports: those of the actor are `threads`. `actor` takes the calls, sends
heartbeats and makes room for other users of the object store; `node_log` tells the node's readers what was written.

Three folders stand below: `tiers/` is the state of both tiers, `stores/` keeps and brings the bytes, `figures/` counts.
"""
