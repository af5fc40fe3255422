"""How large the cache should be: `advice`."""
