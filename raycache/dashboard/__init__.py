"""One page that shows the cache: an actor on the head node serves it over HTTP.

`launch` starts and stops the `actor`, in which `server` speaks HTTP. Without Ray and I/O: `query` reads what a browser asks
for, `security` decides which requests are answered, `views` turns figures into rows, and `prometheus` into a page for
scraping. `source` asks the cache, and looks below mounts only. The page itself is in `static/`.
"""
