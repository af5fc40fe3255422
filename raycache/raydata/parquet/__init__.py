"""Ray Data's own reader of parquet (datasource V2) over the cache, planned where the read is executed.

`footers` holds what a plan needs to know of files, in columns, and `footer_reading` finds it out once for the whole cluster.
`bins` cuts what is to be read into tasks. `indexer` lists files, `placed_files` makes the input of a read out of all that, and
`planning` puts them into Ray Data.
"""
