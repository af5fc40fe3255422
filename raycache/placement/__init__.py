"""Where tasks should run: `near` gives Ray's options for tasks of any kind, `whereabouts` knows where files are."""
