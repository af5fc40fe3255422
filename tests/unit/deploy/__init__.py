"""What lies in `deploy/` fits together, and what reads it takes it."""
