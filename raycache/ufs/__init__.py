"""Under storage: the lake being cached, behind one protocol.

`base.py` is the protocol, `open.py` finds the storage for a URI. Kinds of lakes: `s3/`, `clouds/` (Google
Cloud Storage, Azure), `web/` (files behind https, the Hugging Face Hub), `local.py`, `arrow.py` (all that pyarrow reaches), `memory.py` and `faulty.py` (tests); `http/` is what those
that are reached by HTTP share.
`walk.py` lists trees as S3 lists keys, `trees.py` follows listings to their end, `shown_options.py` says which options are no
secrets, `retry.py` bounds repetition, `errors.py` maps errors of third parties.
"""
