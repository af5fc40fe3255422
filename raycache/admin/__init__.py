"""What users and tools ask of a cache besides reading: mounts, loads, rules on paths, sync, cache maps, figures.

`loads` starts warm-ups and `upkeep` keeps what they brought (free, pin, TTL, quota, `sync`, `maps`); `mounts` binds stores to
paths, and `patterns` turns paths into rules. `residency`, `browsing`, `stats`, `overview` and `doctor` only look.
"""
