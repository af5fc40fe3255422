"""The master's memory over restarts: records, each safe before its effect is confirmed.

`records` is their format; `file_journal` keeps them in a file of the head node, `ufs_journal` in objects of a lake; `opening`
chooses between these. `scribe` writes for a running master: in its own thread, with a deadline, and compacts meanwhile.
"""
