"""The S3 test suite of the Ceph project, run against the endpoint: `make test-s3-suite`.

The suite is not part of this project: `__main__` runs a checkout of it. Buckets are what is mounted, so `mounted_buckets` mounts
where the suite makes a bucket. `passing.txt` lists what must pass, and `left_out` says of everything else why it is left out.
"""
