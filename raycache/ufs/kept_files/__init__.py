"""What is in no lake: results that the cache itself keeps, as a store."""
