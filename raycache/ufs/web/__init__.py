"""Plain files behind `https://` (and `http://`) as a read-only lake: `web_storage`, with the options of `web_options`."""
