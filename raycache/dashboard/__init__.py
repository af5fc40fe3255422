"""One page that shows the cache: an actor on the head node serves it over HTTP.

`pages` turns figures into rows (pure), `source` asks the cache, `server` speaks HTTP, `security` says who may do what.
"""
