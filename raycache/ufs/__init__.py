"""Under storage: the lake being cached, behind one protocol. See `base.py`."""
