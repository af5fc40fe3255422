"""What is asked of single objects, a kind of request a file: `heads`, `gets` and `binding` read, `copying` and `deletes` change."""
