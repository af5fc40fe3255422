"""The client: what a process asks of the cache, and how it reads."""
