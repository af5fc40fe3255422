"""The master, one per cache: which files there are, which workers live, where blocks are, and the load jobs.

`actor` carries calls; it is the only file that needs Ray. `service` decides what concerns several parts, and has the parts:
`namespace/` (what is known of the lake, and mounts), `membership` (workers), `locations` (where blocks are), `written` (what
was written, and which nodes have heard of it), `quotas`, `figures/` (what is counted). `loads/` has the load jobs. What waits
for others stands apart: `journal` writes what must outlive the master, `worker_keeper` starts and watches workers, `syncing`
carries a sync out.
"""
