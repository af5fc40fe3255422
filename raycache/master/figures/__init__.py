"""What the master counts: `nodes` per worker, `attribution` per reader, `history` over time; `watch` shows it."""
