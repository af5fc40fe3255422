"""What the docs site has besides the pages in this folder: those at the root of the repository, and no asset from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
#: Files at the root of the repository, and the pages that the site has of them.
ROOT_PAGES = {"README.md": "index.md", "ARCHITECTURE.md": "architecture.md", "CHANGELOG.md": "changelog.md"}
#: Tags that make a browser fetch something, and the attribute that says what.
_FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "object": "data"}
_ELSEWHERE = re.compile(r"(https?:)?//", re.IGNORECASE)
_ELSEWHERE_IN_CSS = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)
_LINK = re.compile(r"(\[[^\]]*\])\(([^)\s]+)\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of the root."""
    from mkdocs.structure.files import File

    for source, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links lead where they lead in the repository."""
    return relinked(markdown)


def on_post_build(config: Any) -> None:
    """Fail when a page fetches anything from elsewhere."""
    from mkdocs.exceptions import PluginError

    site = Path(config["site_dir"])
    found = [
        f"{path.relative_to(site)}: {url}"
        for path in sorted(site.rglob("*"))
        if path.suffix in {".html", ".css"}
        for url in assets_from_elsewhere(path.suffix, path.read_text(encoding="utf-8"))
    ]
    if found:
        raise PluginError("the site fetches from elsewhere: " + "; ".join(found))


def relinked(markdown: str) -> str:
    """The links of a page of the repository as the site needs them; what is no page of the site is named, not linked."""

    def link(match: re.Match[str]) -> str:
        text, target = match.groups()
        path, anchor = (target.removeprefix("../").partition("#")[::2]) if "://" not in target else (target, "")
        if path in ROOT_PAGES:
            path = ROOT_PAGES[path]
        elif target.startswith("../"):
            return text[1:-1]
        return f"{text}({path.removeprefix('docs/')}{'#' if anchor else ''}{anchor})"

    return _LINK.sub(link, markdown)


def assets_from_elsewhere(suffix: str, content: str) -> Iterator[str]:
    """The addresses outside the site from which a page or a style sheet makes a browser fetch something."""
    if suffix == ".css":
        yield from _ELSEWHERE_IN_CSS.findall(content)
        return
    parser = _Assets()
    parser.feed(content)
    yield from parser.found
    yield from _ELSEWHERE_IN_CSS.findall(content)


class _Assets(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        url = dict(attrs).get(_FETCHED.get(tag, "")) or ""
        if _ELSEWHERE.match(url):
            self.found.append(url)
