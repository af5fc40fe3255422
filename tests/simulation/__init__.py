"""The seeded simulation of a whole cache: see `cluster` for what is simulated, `checkers` for what is checked."""
