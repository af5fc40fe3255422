"""Which copy should go first, and which should not make room at all: pure rules over names and sizes.

`protocol` says what a policy is; `lru`, `sieve`, `s3_fifo` and `sticky` are one each, and `table` names them. `miniature`
runs one on nothing but the names of what is asked for, to learn what it would have kept.
"""
