"""The command line: one function per verb, grouped in files by topic."""
