"""Where a worker's bytes are, and come from: `disk` and `plasma` keep them, `loader` and `peers` bring them."""
