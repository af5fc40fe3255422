"""Walks over all that a worker holds, cut into steps of bounded work: the actor answers others between two steps. Pure.

`freeing` drops what a selector means, `inventory_pages` names files in order, `heat` finds the hottest and coldest, `reporting` says
to the master what is here, `residence` which blocks of some versions are, `adoption` what a restart keeps. Between two steps segments come and go; each walk says what that means for it.
"""
