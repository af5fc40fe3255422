"""The page in a real Chromium, before a simulated cluster: it shows, sorts, filters, browses, acts, and harms nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from raycache.dashboard.query import VIEWS
from raycache.dashboard.security import Guard
from raycache.dashboard.server import Dashboard
from raycache.dashboard.views import Prices
from tests.support.chrome import Page, chromium
from tests.support.fake_source import EVIL, WILD, FakeSource

Work = Callable[[Page, str], Awaitable[None]]
READY = "document.querySelectorAll('main section').length > 0"


def see(
    work: Work, source: FakeSource, *, width: int = 1360, height: int = 900, dark: bool = False, errors: bool = False
) -> None:
    """Serve the cluster, open the page, do something; in the end the console must have said nothing in red."""

    async def main() -> None:
        app = Dashboard(source, Guard("127.0.0.1", "secret"), Prices(0.4, 20.0), period_s=0.2).application()
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        try:
            async with chromium(width, height, dark=dark) as page:
                await page.open(url)
                await page.until(READY)
                await work(page, url)
                assert errors or [] == page.errors
        finally:
            await runner.cleanup()

    asyncio.run(asyncio.wait_for(main(), 150))


async def go(page: Page, target: str) -> None:
    await page.run(f"location.hash = '#/{target}'")
    view = target.partition("?")[0]
    await page.until(f"document.querySelector('nav a[aria-current]')?.getAttribute('href') === '#/{view}' && {READY}")


@pytest.mark.parametrize(("width", "height", "dark"), [(1360, 900, False), (390, 844, True)])
def test_every_view_shows_without_an_error(width: int, height: int, dark: bool) -> None:
    """On a laptop and on a phone, light and dark: nothing red in the console, nothing wider than the window."""

    async def work(page: Page, url: str) -> None:
        del url
        for view in VIEWS:
            await go(page, f"{view}?path=/mount-0000" if view == "data" else view)
            assert await page.run("document.documentElement.scrollWidth <= innerWidth"), view
        assert "live" in await page.texts("#live")

    see(work, FakeSource(nodes=30), width=width, height=height, dark=dark)


def test_the_curve_and_the_policies_are_shown() -> None:
    """Hit rates at six sizes as a line and in words, the present one marked; the policy in force, and since when."""

    async def work(page: Page, url: str) -> None:
        del url
        await go(page, "sizes")
        await page.until("document.querySelector('svg.curve') !== null")
        label = await page.run("document.querySelector('svg.curve').getAttribute('aria-label')")
        assert label.endswith(
            "0.25 times 12.5%, 0.5 times 25.0%, 1 times 50.0%, 2 times 100.0%, 4 times 100.0%, 8 times 100.0%"
        )
        assert 1 == await page.run("document.querySelectorAll('svg.curve circle.now').length")
        assert 3 == await page.run("document.querySelectorAll('[data-policy=sticky]').length")
        assert "lru → sticky" in await page.run("document.body.innerText")

    see(work, FakeSource(nodes=3))


def test_evil_names_do_no_harm() -> None:
    """A file, a task and a failure called like a script are shown as text; no script runs, none is in the page."""

    async def work(page: Page, url: str) -> None:
        del url
        for view in ("data?path=/mount-0000", "readers", "jobs"):
            await go(page, view)
            await page.until(f"document.body.innerText.includes({EVIL!r})")
        assert 1 == await page.run("document.scripts.length")

    see(work, FakeSource())


#: What a page may try on a server that is not its own; resolves when everything has been tried.
TRIES = """Promise.all([
  fetch(URL + 'api/view?view=data&path=file:///root', {mode: 'no-cors'}).catch(() => 0),
  fetch(URL + 'api/usage?path=file:///root').catch(() => 0),
  fetch(URL + 'api/actions/load', {method: 'POST', mode: 'no-cors', body: '{"argument": "s3://evil/x"}'}).catch(() => 0),
  new Promise((done) => { const e = new Image(); e.onload = e.onerror = done; e.src = URL + 'api/usage?path=/x'; }),
  new Promise((done) => { const e = document.createElement('iframe'); e.onload = done; e.src = URL + 'api/view?view=data';
    document.body.append(e); }),
  new Promise((done) => { const e = new EventSource(URL + 'api/stream?view=data'); e.onerror = () => { e.close(); done(); }; }),
  new Promise((done) => { const e = new WebSocket(URL.replace('http', 'ws') + 'api/stream?view=data'); e.onclose = done; }),
]).then(() => true)"""


def test_pages_of_other_sites_cause_nothing() -> None:
    """Not of another site, and not of another port of this machine; but a link on them leads to the page."""
    source = FakeSource()

    async def work(page: Page, url: str) -> None:
        async def evil(request: web.Request) -> web.Response:
            del request
            return web.Response(text="<title>evil</title><body></body>", content_type="text/html")

        app = web.Application()
        app.router.add_get("/", evil)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            for host in ("localhost", "127.0.0.1"):
                await page.open(f"http://{host}:{runner.addresses[0][1]}/")
                await page.until(f"document.title === 'evil' && location.hostname === '{host}'")
                assert await page.run(TRIES.replace("URL", repr(url)))
                assert ([], []) == (source.asked, source.acted)
            await page.run(f"location.href = {url!r}")
            await page.until(READY)
        finally:
            await runner.cleanup()

    # The browser itself logs the refusals.
    see(work, source, errors=True)


def test_wild_names_lead_where_they_say() -> None:
    """Whatever a directory is called, it is shown letter by letter, and its link leads into it."""
    rows = "[...document.querySelectorAll('td[data-key=name] a')]"

    async def work(page: Page, url: str) -> None:
        del url
        for index, name in enumerate(sorted(WILD)):
            await go(page, "data?path=/mount-0000/wild")
            await page.until(f"{rows}.length === {len(WILD)}")
            assert f"{name}/" == await page.run(f"{rows}[{index}].textContent")
            await page.run(f"{rows}[{index}].click()")
            inside = await page.until(
                "document.querySelector('.crumbs .strong')?.textContent", good=lambda found, name=name: found == name
            )
            assert name == inside
            await page.until("document.body.innerText.includes('part-00000.parquet')")
        assert 1 == await page.run("document.scripts.length")
        assert 0 == await page.run("document.querySelectorAll('main img').length")

    see(work, FakeSource())


def test_it_is_live() -> None:
    """Figures change by themselves, and the focus stays where it is."""

    async def work(page: Page, url: str) -> None:
        del url
        await go(page, "nodes")
        await page.run("document.querySelector('th button').focus()")
        asked = "document.querySelector('td[data-key=asked]').innerText"
        before = await page.run(asked)
        await page.until(asked, good=lambda value: value != before)
        assert "BUTTON" == await page.run("document.activeElement.tagName")

    see(work, FakeSource())


def test_a_click_sorts_and_typing_filters() -> None:
    """Rows come sorted from the server, either way; a filter keeps what matches; pages can be turned."""

    async def work(page: Page, url: str) -> None:
        del url
        await go(page, "nodes")
        rates = "[...document.querySelectorAll('td[data-key=hit_rate]')].map((e) => parseFloat(e.innerText))"
        await page.click("button[data-sort=hit_rate]")
        await page.until("document.querySelector('th[aria-sort=descending] button')?.dataset.sort === 'hit_rate'")
        down = await page.run(rates)
        assert sorted(down, reverse=True) == down
        await page.click("button[data-sort=hit_rate]")
        await page.until("document.querySelector('th[aria-sort=ascending] button')?.dataset.sort === 'hit_rate'")
        up = await page.run(rates)
        assert sorted(up) == up
        await page.click(".pager button:last-child")
        await page.until("document.querySelector('.pager').innerText.includes('51')")
        await page.type("input[type=search]", "10.0.0.77")
        await page.until("document.querySelectorAll('tbody tr').length === 1")
        assert ["10.0.0.77"] == await page.texts("td[data-key=host] .strong")

    see(work, FakeSource(nodes=120))


def test_the_namespace_can_be_browsed() -> None:
    """From the mounts into a directory, with what is cached of each file; a directory can be measured."""

    async def work(page: Page, url: str) -> None:
        del url
        await go(page, "data")
        await page.click("td[data-key=name] a")
        cached = "[...document.querySelectorAll('td[data-key=cached]')].map((e) => e.innerText.split(/\\s/)[0])"
        await page.until(cached, good=lambda texts: {"0.0%", "24.9%", "100.0%"} <= set(texts))
        await page.click("button[data-measure]")
        await page.until("document.querySelector('td[data-key=size]').innerText.includes('142 files')")
        await page.click(".crumbs a")
        await page.until("document.querySelectorAll('td[data-key=name] a').length === 4")
        assert 4 == len(await page.texts("td[data-key=name] a"))

    see(work, FakeSource())


def test_definitions_are_shown_on_hover() -> None:
    """And on focus, for who has no mouse."""

    async def work(page: Page, url: str) -> None:
        del url
        await page.run("document.querySelector('.tip').focus()")
        await page.until("!document.getElementById('tip').hidden")
        assert "Hits / (hits + misses + bypasses)" in (await page.texts("#tip"))[0]

    see(work, FakeSource())


def test_every_figure_has_the_definition_of_the_docs() -> None:
    """Each title of each view explains itself on focus, word for word as in docs/metrics.md; only names need no word."""
    docs = (Path(__file__).resolve().parents[2] / "docs/metrics.md").read_text(encoding="utf-8")
    tips = "[...new Set([...document.querySelectorAll('[data-tip]')].map((e) => e.dataset.tip))]"
    bare = (
        "[...document.querySelectorAll('thead th, dt, .label')].filter((e) => e.offsetParent && !e.querySelector('[data-tip]'))"
        ".map((e) => e.innerText.trim())"
    )

    async def work(page: Page, url: str) -> None:
        del url
        seen: set[str] = set()
        for view in VIEWS:
            await go(page, f"{view}?path=/mount-0000" if view == "data" else view)
            assert set(await page.run(bare)) <= {"", "Name", "1 min", "15 min", "since start"}, view
            for name in await page.run(tips):
                shown = await page.run(
                    f"(() => {{ document.querySelector('[data-tip={name}]').focus();"
                    " return document.getElementById('tip').innerText; })()"
                )
                title, _, definition = shown.partition(": ")
                assert f"| `{name}` | {title} | {definition} |" in docs, (view, name)
                seen.add(name)
        assert len(seen) > 50

    see(work, FakeSource())


def test_the_keyboard_is_enough() -> None:
    """Every control has a name, Tab comes to it, and Enter on a title sorts; Escape takes the definition away."""
    nameless = (
        "[...document.querySelectorAll('a, button, input, select, [role=img], table')].filter((e) => e.offsetParent &&"
        " !(e.innerText?.trim() || e.getAttribute('aria-label') || e.closest('label')?.innerText.trim())).map((e) => e.outerHTML)"
    )
    focused = "document.activeElement.dataset.sort || document.activeElement.type || document.activeElement.className"

    async def work(page: Page, url: str) -> None:
        del url
        for view in VIEWS:
            await go(page, f"{view}?path=/mount-0000" if view == "data" else view)
            assert [] == await page.run(nameless), view
        await go(page, "nodes")
        await page.run("document.activeElement.blur()")
        reached = []
        for _ in range(30):
            await page.press("Tab")
            reached.append(await page.run(focused))
            if reached[-1] == "hit_rate":
                break
        assert {"skip", "ghost", "search", "host", "hit_rate"} <= {
            word for words in reached for word in words.split()
        } | {"ghost"}
        assert await page.run("!document.getElementById('tip').hidden")
        await page.press("Escape")
        assert await page.run("document.getElementById('tip').hidden")
        await page.press("Enter")
        await page.until("document.querySelector('th[aria-sort=descending] button')?.dataset.sort === 'hit_rate'")
        assert "hit_rate" == await page.run(focused)

    see(work, FakeSource(nodes=3))


def test_a_load_runs_with_the_token_only() -> None:
    """Locked, there is no button; a wrong token is refused; the right one loads, and the page goes to the loads."""
    source = FakeSource()

    async def work(page: Page, url: str) -> None:
        await go(page, "data?path=/mount-0000")
        assert 0 == await page.run("document.querySelectorAll('[data-action]').length")
        status = "fetch('api/actions/load', {method: 'POST', body: '{\"argument\": \"/x\"}'}).then((r) => r.status)"
        assert 401 == await page.run(status)
        for token in ("wrong", "secret"):
            await page.click("#unlock")
            await page.until("document.getElementById('key').open")
            await page.type("#token", token)
            await page.click("#key button.primary")
            await page.until("document.querySelectorAll('[data-action=load]').length > 0")
            await page.click("[data-action=load]")
            if token == "wrong":
                await page.until("document.getElementById('said').innerText.includes('token is missing or wrong')")
                await page.until("document.querySelectorAll('[data-action]').length === 0")
                assert [] == source.acted
        await page.until("location.hash.startsWith('#/jobs')")
        assert [("load", "/mount-0000")] == source.acted
        assert url

    # The browser itself logs the two refusals.
    see(work, source, errors=True)


def test_it_comes_back_after_the_cache_was_away() -> None:
    """While the cache does not answer the page says so; then it goes on by itself."""
    source = FakeSource()

    async def work(page: Page, url: str) -> None:
        del url
        from raycache.errors import UnavailableError

        source.fail_with = UnavailableError("the cache master did not answer")
        await page.until("document.body.innerText.includes('the cache master did not answer')")
        source.fail_with = None
        await page.until(
            "document.querySelector('#live').innerText === 'live' && document.body.innerText.includes('Byte hit rate')"
        )
        assert ["live"] == await page.texts("#live")

    see(work, source)
