"""Which read task starts next: `dispatch` over all nodes, `lanes` within one, by what is `cached_now`. Nothing of Ray."""
