"""Benchmarks: ratios against a peer or a physical limit, measured side by side in one run."""
