"""What keeps a worker's event loop free: `turns` measures it and gives a sign of life beside it, `bounded_threads` do what may
hang, and the `janitor` deletes files.
"""
