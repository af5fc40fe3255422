"""Fingerprints of what a result depends on: values, functions and all that they use. No Ray, no I/O.

`objects` walks values, `bytecode` says which names a function uses and whether it leaves things to chance, and `libraries`
tells installed code, which goes by its version, from the user's own, which goes by what it is.
"""
