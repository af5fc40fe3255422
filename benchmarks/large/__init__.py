"""`epochs-large`: datasets that are larger than the cache."""
