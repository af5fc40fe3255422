"""The command line: one function per verb, grouped in files by topic.

`main` holds the program and how a run ends, `arguments` reads options, `session` is one run and its way to the cache, and
`output` and `progress` show things. The verbs: `cluster_verbs` (start, stop, status, settings), `mount_verbs`, `file_verbs`
(ls, stat, du, locate), `load_verbs` (load, jobs, job, check), `upkeep_verbs` (free, pins, rules, sync, maps),
`stats_verbs` (stats, advise), `top`, `report_verbs` (report, doctor) and `serving_verbs`.
"""
