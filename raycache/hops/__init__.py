"""Waiting for a peer: no longer than it shows signs of life (`patience`), and leaving it alone after that (`breaker`)."""
