"""Real servers of other stores than S3, on this machine: Google Cloud Storage, Azure and HDFS.

Each is a context manager, and raises NotFoundError that says what to install where its program is missing.
"""
