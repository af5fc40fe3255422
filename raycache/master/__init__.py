"""The master: one actor that knows mounts, files, block locations, members and jobs."""
