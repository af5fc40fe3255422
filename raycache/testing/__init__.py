"""Real servers, peers and data sets on one machine: for tests, the demo, the examples and the benchmarks.

`cluster` is a Ray cluster of several nodes, `seaweed` an S3 server, and `proxy/` stands before one to count, slow down and
break what passes. `data` writes data sets, and `checksum` compares them. `processes` and `stop_signals` see to it that
nothing outlives the program that started it.
"""
