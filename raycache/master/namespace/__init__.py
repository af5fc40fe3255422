"""What is known of the lake.

`catalog` answers look-ups and listings over all stores; `keyspace` is what is known of one store, as packed `entries`, and
`mount_table` says which store a path means. What must be asked first are `lookups`; `asking` has those on their way, and
`lister` asks the lake. `comparison` is one sync, part by part.
"""
