"""The S3 endpoint of a node: other programs read through the cache with the S3 client they have.

`protocol/` knows S3, and nothing of the cache. `object_reads`, `bucket_reads`, `object_writes` and `multipart_uploads` carry
requests out by a client of the cache. `http_server` is the server, `neighbours` serves processes without Ray, `actor` is their
process on a node, `keeper` has one on every node, and `lifecycle` starts and stops them.
"""
