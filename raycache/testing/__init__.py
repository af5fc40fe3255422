"""Real servers, peers and data sets on one machine: for tests, the demo, the examples and the benchmarks."""
