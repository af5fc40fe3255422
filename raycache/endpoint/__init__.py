"""The S3 endpoint of a node: other programs read through the cache with the S3 client they have.

Pure: `signatures` says whose request it is, `s3_requests` what it asks, `s3_errors` and `xml_answers` how it is answered,
`buckets` where a bucket's keys lie, `listing_pages` what a page of a listing holds. Over a client of the cache: `object_reads`
and `bucket_reads` carry requests out. `http_server` is the server, `actor` its process on a node, `keeper` has one on every
node, and `lifecycle` starts and stops them.
"""
