"""The dashboard over real HTTP, before a simulated cluster: right answers, right refusals, and nothing dies."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from raycache.dashboard import server as module
from raycache.dashboard.security import HEADERS, Guard
from raycache.dashboard.server import Dashboard
from raycache.dashboard.views import Prices
from raycache.errors import UnavailableError
from tests.support.fake_source import EVIL, FakeSource

TOKEN = {"Authorization": "Bearer secret"}
Work = Callable[[aiohttp.ClientSession, str], Awaitable[None]]


def serve(work: Work, source: FakeSource | None = None, *, token: str = "secret", period_s: float = 0.02) -> None:
    """Serve a simulated cluster on a free port, and do something with it."""

    async def main() -> None:
        guard = Guard("127.0.0.1", token)
        app = Dashboard(source or FakeSource(), guard, Prices(), period_s=period_s).application()
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
                await work(session, url)
        finally:
            await runner.cleanup()

    asyncio.run(asyncio.wait_for(main(), 60))


async def first_event(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    async for line in answer.content:
        if line.startswith(b"data: "):
            return dict(json.loads(line[6:]))
    raise AssertionError("the stream ended")


def test_every_answer_is_armoured() -> None:
    """Also errors carry the security headers; the page allows scripts and styles of its own only."""

    async def work(session: aiohttp.ClientSession, url: str) -> None:
        for path, status, kind in (
            ("/", 200, "text/html"), ("/app.js", 200, "text/javascript"), ("/style.css", 200, "text/css"),
            ("/icon.svg", 200, "image/svg+xml"), ("/api/view", 200, "application/json"),
            ("/metrics", 200, "text/plain"), ("/nothing", 404, "application/json"),
        ):  # fmt: skip
            async with session.get(url + path) as answer:
                assert (status, kind) == (answer.status, answer.content_type), path
                assert all(answer.headers[name] == value for name, value in HEADERS.items())
                assert "unsafe" not in answer.headers["Content-Security-Policy"]

    serve(work)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/etc/passwd", 404),
        ("GET", "/static/../server.py", 404),
        ("GET", "/..%2f..%2fetc%2fpasswd", 404),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", 404),
        ("GET", "/app.js/../server.py", 404),
        ("GET", "/api/view?view=data&path=/../../etc/passwd", 404),
        ("GET", "/api/view?view=nonsense", 400),
        ("GET", "/api/view?page=999999999999", 400),
        ("GET", "/api/view?view=nodes&view=jobs", 400),
        ("GET", "/api/view?q=%ff%fe%00", 200),
        ("GET", f"/api/view?q={'x' * 5000}", 414),
        ("GET", f"/api/view?q={'x' * 20000}", 400),
        ("GET", "/api/stream?view=nonsense", 400),
        ("GET", "/api/usage?path=" + "/" * 3000, 400),
        ("POST", "/", 405),
        ("DELETE", "/api/view", 405),
        ("PUT", "/api/actions/load", 405),
        ("GET", "/api/actions/load", 405),
        ("HEAD", "/api/stream", 405),
        ("OPTIONS", "/api/view", 405),
        ("PATCH", "/api/usage", 405),
        ("TRACE", "/", 405),
        ("PROPFIND", "/api/view", 405),
        ("GET", "//api/view", 404),
        ("GET", "/api//view", 404),
        ("GET", "/api/./view/", 404),
        ("GET", "/api/view%00", 404),
        ("GET", "/api/view;x=1", 404),
        ("GET", "/api/view?path=/&path=file:///root", 400),
        ("GET", "/api/view?PATH=/", 400),
        ("GET", "/api/usage?path=/%00", 400),
    ],
)
def test_bad_requests_have_their_status(method: str, path: str, status: int) -> None:
    """And a line of JSON that tells nothing of the inside."""

    async def work(session: aiohttp.ClientSession, url: str) -> None:
        async with session.request(method, URL(url + path, encoded=True)) as answer:
            body = await answer.text()
            assert status == answer.status, body
            assert "Traceback" not in body
            assert ".py" not in body
        async with session.get(url + "/api/view") as answer:
            assert 200 == answer.status

    serve(work)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"POST /api/actions/load HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /api/actions/load HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http_is_refused(request_bytes: bytes) -> None:
    """Garbage gets a 4xx or a closed door, and the next one is served."""

    async def work(session: aiohttp.ClientSession, url: str) -> None:
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_bytes)
        answer = await asyncio.wait_for(reader.read(200), 10)
        assert answer == b"" or b" 4" in answer[:16], answer
        writer.close()
        async with session.get(url + "/api/view") as good:
            assert 200 == good.status

    serve(work)


@pytest.mark.parametrize(
    "name",
    ["evil.example", "localhost.evil.example", "localhost@evil.example", "evil.example#localhost", "10.0.0.4", "0.0.0.0", "x" * 300],
)  # fmt: skip
def test_another_name_is_refused(name: str) -> None:
    """A page whose name points here (DNS rebinding) sees nothing; the machine's own names do."""

    async def work(session: aiohttp.ClientSession, url: str) -> None:
        for path in ("/", "/api/view", "/api/usage?path=/", "/metrics", "/nothing"):
            async with session.get(url + path, headers={"Host": f"{name}:8268"}) as answer:
                assert 421 == answer.status
                assert {"error"} == set(await answer.json())
        for own in ("localhost:1", "LOCALHOST", "127.0.0.1", "[::1]:8268"):
            async with session.get(url + "/api/view", headers={"Host": own}) as answer:
                assert 200 == answer.status

    serve(work)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        {"Sec-Fetch-Site": "same-origin, cross-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[broken"},
        {"Origin": "http://127.0.0.1:1"},
        {"Referer": "http://evil.example/page"},
        {"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://evil.example", "Upgrade": "websocket", "Connection": "Upgrade"},
    ],
)
def test_another_sites_page_learns_and_causes_nothing(headers: dict[str, str]) -> None:
    """Whatever it asks for but the page's own files is refused before the cache is asked; it may read no answer either way."""
    source = FakeSource()

    async def work(session: aiohttp.ClientSession, url: str) -> None:
        for method, path in (
            ("GET", "/api/view?view=data&path=file:///root"), ("HEAD", "/api/view"), ("GET", "/%61pi/view"),
            ("GET", "/api/stream?view=data"), ("GET", "/api/usage?path=/"), ("GET", "/api/definitions"),
            ("GET", "/metrics"), ("GET", "/nothing"), ("POST", "/api/actions/load"), ("OPTIONS", "/api/view"),
        ):  # fmt: skip
            async with session.request(method, URL(url + path, encoded=True), headers={**TOKEN, **headers}) as answer:
                assert 403 == answer.status, path
                assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
        for path in ("/", "/app.js"):
            async with session.get(url + path, headers=headers) as answer:
                assert (200, "same-origin") == (answer.status, answer.headers["Cross-Origin-Resource-Policy"])
        assert ([], [], 0) == (source.asked, source.acted, source.looks)
        own = {"Origin": url, "Referer": f"{url}/", "Sec-Fetch-Site": "same-origin"}
        for good in (own, {"Sec-Fetch-Site": "none"}, {}):
            async with session.get(url + "/api/view?view=data", headers=good) as answer:
                assert 200 == answer.status
        assert {"/"} == set(source.asked)

    serve(work, source)


def test_actions_need_the_token() -> None:
    """Wrong or missing tokens, other origins and bad bodies are refused, and do nothing; the right one acts."""
    source = FakeSource()

    async def work(session: aiohttp.ClientSession, url: str) -> None:
        good = {"argument": "/lake/x"}
        for headers, body, action, status in (
            ({}, good, "load", 401),
            ({"Authorization": "Bearer nope"}, good, "load", 401),
            ({**TOKEN, "Origin": "http://evil.example"}, good, "load", 403),
            ({**TOKEN, "Sec-Fetch-Site": "cross-site"}, good, "load", 403),
            (TOKEN, good, "explode", 404),
            (TOKEN, {"argument": 7}, "load", 400),
            (TOKEN, ["/lake/x"], "load", 400),
            (TOKEN, {"argument": "bad path"}, "load", 400),
            (TOKEN, {"argument": "x" * 20_000}, "load", 413),
        ):
            async with session.post(f"{url}/api/actions/{action}", json=body, headers=headers) as answer:
                assert status == answer.status, await answer.text()
                assert "secret" not in await answer.text()
        async with session.post(f"{url}/api/actions/load", data=b"{", headers=TOKEN) as answer:
            assert 400 == answer.status
        assert [] == source.acted
        async with session.post(f"{url}/api/actions/load", json=good, headers={**TOKEN, "Origin": url}) as answer:
            assert {"job": "load-1"} == await answer.json()
        assert [("load", "/lake/x")] == source.acted

    serve(work, source)


def test_without_a_token_nobody_acts() -> None:
    """A read-only dashboard offers no action, and refuses each."""
    source = FakeSource()

    async def work(session: aiohttp.ClientSession, url: str) -> None:
        async with session.get(url + "/api/definitions") as answer:
            assert [] == (await answer.json())["actions"]
        async with session.post(
            f"{url}/api/actions/load", json={"argument": "/x"}, headers={"Authorization": "Bearer "}
        ) as a:
            assert 403 == a.status
        assert [] == source.acted

    serve(work, source, token="")


def test_two_hundred_streams_share_one_look() -> None:
    """Streams get events; however many there are, the cache is asked once a period; when they go, nobody asks."""
    source = FakeSource()

    async def work(session: aiohttp.ClientSession, url: str) -> None:
        answers = [await session.get(f"{url}/api/stream?view=nodes&page={number % 3}") for number in range(200)]
        looks = source.looks
        pages = await asyncio.gather(*(first_event(answer) for answer in answers))
        assert {"nodes"} == {page["view"] for page in pages}
        assert source.looks - looks < 100
        for answer in answers:
            answer.close()

    serve(work, source, period_s=0.2)


def test_slow_figures_do_not_queue_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks while they are on their way waits for those; also when an earlier one has given up."""

    async def ask_thrice(period_s: float) -> FakeSource:
        source = FakeSource()
        source.visible.clear()
        dashboard = Dashboard(source, Guard("127.0.0.1", ""), Prices(), period_s=period_s)
        asking = [asyncio.ensure_future(dashboard._figures()) for _ in range(3)]
        # All have begun to ask by then.
        asyncio.get_running_loop().call_soon(source.visible.set)
        assert len({id(overview) for overview, _ in await asyncio.gather(*asking)}) == 1
        return source

    assert 1 == asyncio.run(ask_thrice(0.0)).looks

    async def give_up_twice() -> FakeSource:
        source = FakeSource()
        source.visible.clear()
        dashboard = Dashboard(source, Guard("127.0.0.1", ""), Prices(), period_s=60.0)
        with monkeypatch.context() as impatient:
            impatient.setattr(module, "_ANSWER_TIMEOUT_S", 0.0)
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    await dashboard._figures()
        source.visible.set()
        await dashboard._figures()
        return source

    assert 1 == asyncio.run(give_up_twice()).looks


def test_slow_questions_hold_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many measure a huge directory at once, figures come as ever; too many are told to come again."""
    monkeypatch.setattr(module, "ASKED_MAX", 20)
    source = FakeSource()
    source.measurable.clear()

    async def work(session: aiohttp.ClientSession, url: str) -> None:
        asking = [asyncio.create_task(session.get(f"{url}/api/usage?path=/mount-{number:04}")) for number in range(40)]
        while sum(question.done() for question in asking) < 20:
            await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        assert {503} == {question.result().status for question in asking if question.done()}
        looks = source.looks
        while source.looks < looks + 3:
            async with session.get(url + "/api/view?view=nodes") as answer:
                assert 200 == answer.status
        async with session.get(url + "/api/view?view=data&path=/mount-0000") as answer:
            assert 503 == answer.status
        source.measurable.set()
        assert [200] * 20 == [answer.status for answer in await asyncio.gather(*asking) if answer.status != 503]
        async with session.get(url + "/api/view?view=data&path=/mount-0000") as answer:
            assert 200 == answer.status

    serve(work, source)


def test_too_many_streams_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound a stream is told to come again; when one ends there is room."""
    monkeypatch.setattr(module, "STREAMS_MAX", 3)

    async def work(session: aiohttp.ClientSession, url: str) -> None:
        answers = [await session.get(url + "/api/stream") for _ in range(3)]
        async with session.get(url + "/api/stream") as refused:
            assert 503 == refused.status
        answers.pop().close()
        while True:
            async with session.get(url + "/api/stream") as again:
                if again.status == 200:
                    break

    serve(work)


def test_a_slow_client_loses_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not read is cut off in bounded time; the others go on."""
    monkeypatch.setattr(module, "_SEND_TIMEOUT_S", 0.2)
    monkeypatch.setattr(module, "STREAMS_MAX", 2)

    async def work(session: aiohttp.ClientSession, url: str) -> None:
        port = int(url.rpartition(":")[2])
        slow = socket.create_connection(("127.0.0.1", port))
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(b"GET /api/stream?view=nodes HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with session.get(url + "/api/stream") as watching:
            await first_event(watching)
            # Its place is free again, although it has not gone.
            status = 503
            while status == 503:
                async with session.get(url + "/api/stream") as third:
                    status = third.status
            assert 200 == status
        slow.close()

    serve(work, FakeSource(nodes=50), period_s=0.001)


def test_a_silent_cache_is_said_so() -> None:
    """Views answer 503, streams say it and go on; when the cache is back, so are the figures."""
    source = FakeSource()
    source.fail_with = UnavailableError("the cache master did not answer within 30 s")

    async def work(session: aiohttp.ClientSession, url: str) -> None:
        async with session.get(url + "/api/view") as answer:
            assert (503, "the cache master did not answer within 30 s") == (
                answer.status,
                (await answer.json())["error"],
            )
        async with session.get(url + "/api/stream") as stream:
            assert {"error": "the cache master did not answer within 30 s"} == await first_event(stream)
            source.fail_with = None
            assert "head" in await first_event(stream)
        source.fail_with = ZeroDivisionError("the secret of /home/x")
        status, body = 200, {}
        while status == 200:  # what was looked at just before may still be shown
            async with session.get(url + "/api/view") as answer:
                status, body = answer.status, await answer.json()
        assert (500, {"error": "unexpected ZeroDivisionError"}) == (status, body)

    serve(work, source)


def test_evil_names_stay_text() -> None:
    """Names go out as JSON, with a type that no browser runs."""

    async def work(session: aiohttp.ClientSession, url: str) -> None:
        async with session.get(url + "/api/view?view=data&path=/mount-0000") as answer:
            assert "application/json" == answer.content_type
            assert EVIL in [row["name"] for row in (await answer.json())["rows"]]

    serve(work)
