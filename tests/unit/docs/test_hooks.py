"""The docs site: its links lead where those of the repository do, and it fetches nothing from elsewhere."""

from __future__ import annotations

import pytest

from docs import hooks


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("[reading](docs/reading.md#versions)", "[reading](reading.md#versions)"),
        ("[why](ARCHITECTURE.md)", "[why](architecture.md)"),
        ("[why](../ARCHITECTURE.md#tiers)", "[why](architecture.md#tiers)"),
        ("![dashboard](docs/images/overview.png)", "![dashboard](images/overview.png)"),
        ("[pins](upkeep.md), [`maps`](maps.md)", "[pins](upkeep.md), [`maps`](maps.md)"),
        ("[`loader.py`](../examples/loader.py) shows it", "`loader.py` shows it"),
        ("[Ray](https://ray.io/docs/x.html#y)", "[Ray](https://ray.io/docs/x.html#y)"),
    ],
)
def test_links_lead_to_pages_of_the_site(written: str, expected: str) -> None:
    """A link of the repository becomes one of the site; what is no page of it is named, not linked."""
    assert hooks.relinked(written) == expected


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".html", '<script src="https://cdn.example/x.js"></script>'),
        (".html", '<link rel="stylesheet" href="//fonts.example/css">'),
        (".html", '<img alt="" src="HTTP://example/x.png">'),
        (".html", "<style>@import 'https://fonts.example/css'</style>"),
        (".css", "@font-face { src: url(https://fonts.example/x.woff2) }"),
    ],
)
def test_an_asset_from_elsewhere_is_found(suffix: str, content: str) -> None:
    """A script, style, image or font of another host is found, once."""
    assert len(list(hooks.assets_from_elsewhere(suffix, content))) == 1


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".html", '<script src="assets/x.js"></script><link href="x.css"><img src="../images/x.png">'),
        (".html", '<a href="https://ray.io">Ray</a>'),
        (
            ".css",
            "body { background: url(data:image/svg+xml;charset=utf-8,<svg xmlns='http://www.w3.org/2000/svg'/>) }",
        ),
    ],
)
def test_what_lies_beside_and_what_is_only_linked_is_allowed(suffix: str, content: str) -> None:
    """The site's own files, data in place, and links that a reader may follow are no assets from elsewhere."""
    assert list(hooks.assets_from_elsewhere(suffix, content)) == []
