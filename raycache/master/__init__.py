"""The master: the namespace, who is alive, where blocks are. Everything but `actor.py` works without Ray."""
