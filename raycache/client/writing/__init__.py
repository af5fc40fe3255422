"""File objects that write: whole files or nothing."""
