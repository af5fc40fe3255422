"""Ray Data over the cache: its readers, with read tasks on the nodes that hold their files.

`readers` are the public functions, `modes` the ways a task can be sent to a node, `hook` and `inputs` all that touches Ray Data's
internals. `file_selection` and `parquet_columns` say which files and columns a read means. `datasource`, `grouping` and `dispatch`
decide which task reads what, where and when; `announcing`, `file_listing` and `sampling` make the start of a read quick.
`plugin` is what fsspec loads.
"""
