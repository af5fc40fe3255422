"""Ray itself, as a client finds and calls it."""
