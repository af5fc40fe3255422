"""Planted faults in the sources, and the tests that must catch them: `make mutants`."""
