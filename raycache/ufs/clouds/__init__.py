"""Object stores that speak a protocol of their own: Google Cloud Storage and Azure Blob Storage.

`cloud_storage` is the under storage of both. What differs is a `CloudBucket` (`bucket`): `google` and `azure`, each with its options and
its way to prove who asks. Bytes come through obstore, in one exact request; everything else, and keys that obstore would
change, through `connection`, whose errors are mapped by `errors`. `uploads` writes in parts.
"""
