"""One worker per node: it holds blocks in memory and on disk, and loads what is missing."""
