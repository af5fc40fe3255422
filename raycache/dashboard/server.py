"""The HTTP server of the dashboard: static files, views as JSON, live views as server-sent events, actions.

Theory of operation. While somebody looks, the server fetches figures once a second at most, however many look, and never
twice at a time. All requests for the same query share one rendering of them. A stream gets an event when its view has
changed, and the last one again now and then. Streams, the length of a request, and the time a client may take to receive
an event are bounded; a slow client loses its stream, and its browser connects again.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import Any, NamedTuple, TypeVar

from aiohttp import web

from raycache.admin.overview import Overview
from raycache.dashboard.prometheus import render
from raycache.dashboard.query import ROWS_PER_PAGE, Query, read_query
from raycache.dashboard.security import HEADERS, Guard
from raycache.dashboard.source import ACTIONS, Source
from raycache.dashboard.views import Prices, cached_row, entry_row, head, heat_row, kept_page, page_of, sizes, table
from raycache.errors import DeniedError, InvalidRequestError, NotFoundError, RaycacheError, UnavailableError
from raycache.metrics import FIGURES
from raycache.results import plain

logger = logging.getLogger("raycache")

T = TypeVar("T")

STREAMS_MAX = 512
#: Questions at a time: listings, measurements, actions.
ASKED_MAX = 64
#: Of the whole request line, and of the body of an action.
URL_LENGTH_MAX = 4_096
BODY_BYTES_MAX = 16 << 10
_PERIOD_S = 1.0
_QUIET_S = 15.0
_SEND_TIMEOUT_S = 10.0
_ANSWER_TIMEOUT_S = 60.0
_THREADS = 8
_MIME = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
_FILES = {
    "/": "index.html",
    "/app.js": "app.js",
    "/charts.js": "charts.js",
    "/kept.js": "kept.js",
    "/sizes.js": "sizes.js",
    "/style.css": "style.css",
    "/icon.svg": "icon.svg",
}


class _Look(NamedTuple):
    """The figures of one moment."""

    asked_s: float
    overview: asyncio.Future[Overview]
    #: What was made of them, by query.
    made: dict[Query, bytes]


class Dashboard:
    """Routes and their state.

    Args:
        source: where figures come from.
        guard: decides which requests are answered, and which may act.
        prices: of the lake.
        period_s: between two looks at the figures.
    """

    def __init__(self, source: Source, guard: Guard, prices: Prices, *, period_s: float = _PERIOD_S) -> None:
        self._source = source
        self._guard = guard
        self._prices = prices
        self._period_s = period_s
        #: For questions that may take long; figures have a thread of their own, so that no question holds them up.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="raycache-dashboard")
        self._figures_thread = ThreadPoolExecutor(1, thread_name_prefix="raycache-figures")
        #: Questions that were asked and are not answered yet.
        self._asked = 0
        self._streams = 0
        self._look: _Look | None = None

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(middlewares=[self._armour], client_max_size=BODY_BYTES_MAX)
        folder = resources.files("raycache.dashboard") / "static"
        for path, name in _FILES.items():
            body = (folder / name).read_bytes()
            app.router.add_get(path, _static(body, _MIME[name.rpartition(".")[2]]))
        app.router.add_get("/api/view", self._view)
        app.router.add_get("/api/stream", self._stream, allow_head=False)
        app.router.add_get("/api/usage", self._usage)
        app.router.add_get("/api/definitions", self._definitions)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_post("/api/actions/{action}", self._act)
        app.on_cleanup.append(self._close)
        return app

    async def _close(self, app: web.Application) -> None:
        del app
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._figures_thread.shutdown(wait=False, cancel_futures=True)

    # --- every request ------------------------------------------------------------------------------------------------

    @web.middleware
    async def _armour(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Headers on every answer, and every error as one line of JSON that tells nothing of the inside."""
        try:
            if not self._guard.is_named(request.headers):
                response: web.StreamResponse = _error(421, "this name is not the dashboard's; open it by its address")
            elif request.path not in _FILES and not self._guard.may_look(request.headers):
                response = _error(403, "another site's page may not ask here")
            elif len(request.raw_path) > URL_LENGTH_MAX:
                response = _error(414, "the request is too long")
            else:
                response = await handler(request)
        except web.HTTPException as error:
            response = _error(error.status, error.reason)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        except NotFoundError as error:
            response = _error(404, str(error))
        except InvalidRequestError as error:
            response = _error(400, str(error))
        except DeniedError as error:
            response = _error(403, str(error))
        except (UnavailableError, TimeoutError) as error:
            response = _error(503, str(error) or "the cache did not answer in time")
        except RaycacheError as error:
            response = _error(409, str(error))
        except (ConnectionResetError, asyncio.CancelledError):
            raise
        except Exception as error:
            # Whatever broke is the server's own business: the client learns its kind only.
            response = _error(500, f"unexpected {type(error).__name__}")
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    async def _call(self, function: Callable[..., T], *arguments: Any) -> T:
        if self._asked >= ASKED_MAX:
            raise UnavailableError("too many questions are being answered already; try again later")
        self._asked += 1
        work = asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        # A request that gives up leaves its question behind, which counts until it is answered.
        work.add_done_callback(self._answered)
        return await asyncio.wait_for(asyncio.shield(work), _ANSWER_TIMEOUT_S)

    def _answered(self, work: asyncio.Future[Any]) -> None:
        self._asked -= 1
        if not work.cancelled():
            work.exception()  # a request that still waits has it; nobody else needs it

    # --- looking ------------------------------------------------------------------------------------------------------

    async def _figures(self) -> tuple[Overview, dict[Query, bytes]]:
        """The figures of now, asked for at most `period_s` ago or on their way since, and what was made of them so far."""
        loop = asyncio.get_running_loop()
        look = self._look
        # One that takes long is waited for, however old it is by now: more of them would only queue up behind it.
        if look is None or (look.overview.done() and loop.time() - look.asked_s >= self._period_s):
            future = loop.run_in_executor(self._figures_thread, self._source.overview)
            look = self._look = _Look(loop.time(), future, {})
        try:
            return await asyncio.wait_for(asyncio.shield(look.overview), _ANSWER_TIMEOUT_S), look.made
        except Exception:
            if self._look is look and look.overview.done():
                # The next one asks again.
                self._look = None
            raise

    async def _page(self, query: Query) -> bytes:
        overview, pages = await self._figures()
        if query not in pages:
            page = None
            if query.view == "data":
                page = await self._look_around(overview, query)
            elif query.view == "kept":
                page = kept_page(overview, await self._call(self._source.kept_datasets), query)
            elif query.view == "sizes":
                page = {"head": head(overview), "view": "sizes", **sizes(await self._call(self._source.advice))}
            made = page if page is not None else page_of(overview, query, self._prices)
            pages[query] = json.dumps(made, separators=(",", ":"), ensure_ascii=True).encode()
        return pages[query]

    async def _look_around(self, overview: Overview, query: Query) -> dict[str, Any]:
        entries = await self._call(self._source.list_directory, query.path)
        # Directories first, as people expect it.
        rows = [entry_row(entry) for entry in sorted(entries, key=lambda entry: (entry.kind == "file", entry.path))]
        found = table(rows, query, "", ("name",))
        by_path = {entry.path: entry for entry in entries}
        shown = await self._call(self._source.with_residency, [by_path[row["path"]] for row in found["rows"]])
        found["rows"] = [cached_row(row) for row in shown]
        hottest, coldest = await self._call(self._source.heat)
        return {
            "head": head(overview),
            "view": "data",
            "path": query.path,
            **found,
            "hottest": [heat_row(row) for row in hottest],
            "coldest": [heat_row(row) for row in coldest],
        }

    async def _view(self, request: web.Request) -> web.Response:
        return _json(await self._page(_query(request)))

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        query = _query(request)
        if self._streams >= STREAMS_MAX:
            raise UnavailableError(f"{STREAMS_MAX} browsers are watching already; try again later")
        self._streams += 1
        try:
            response = web.StreamResponse(
                headers={**HEADERS, "Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
            )
            await response.prepare(request)
            await self._send_forever(response, query)
        except ConnectionResetError as error:
            # The browser has gone: the usual end of a stream.
            logger.debug("a stream has ended: %s", error)
        except TimeoutError:
            # Too slow: nothing more would get through, not even an end.
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._streams -= 1
        return response

    async def _send_forever(self, response: web.StreamResponse, query: Query) -> None:
        loop = asyncio.get_running_loop()
        last, sent_s = b"", loop.time()
        while True:
            try:
                event = b"data: " + await self._page(query) + b"\n\n"
            except (RaycacheError, TimeoutError) as error:
                text = json.dumps({"error": str(error) or "the cache did not answer in time"})
                event = b"event: trouble\ndata: " + text.encode() + b"\n\n"
            if event != last or loop.time() - sent_s > _QUIET_S:
                await asyncio.wait_for(response.write(event), _SEND_TIMEOUT_S)
                last, sent_s = event, loop.time()
            await asyncio.sleep(self._period_s)

    async def _usage(self, request: web.Request) -> web.Response:
        query = _query(request)
        return _json(json.dumps(plain(await self._call(self._source.usage, query.path))).encode())

    async def _definitions(self, request: web.Request) -> web.Response:
        del request
        figures = {name: figure._asdict() for name, figure in FIGURES.items()}
        about = {"figures": figures, "actions": sorted(ACTIONS) if self._guard.acts else [], "page": ROWS_PER_PAGE}
        return _json(json.dumps(about).encode())

    async def _metrics(self, request: web.Request) -> web.Response:
        del request
        overview, _ = await self._figures()
        text = render((node.node_id, node.reads.counters, node.worker) for node in overview.nodes)
        return web.Response(text=text, content_type="text/plain")

    # --- acting -------------------------------------------------------------------------------------------------------

    async def _act(self, request: web.Request) -> web.Response:
        refusal = self._guard.may_act(request.headers)
        if refusal is not None:
            return _error(*refusal)
        action = request.match_info["action"]
        if action not in ACTIONS:
            raise NotFoundError(f"there is no action {action[:40]!r}; known are {', '.join(ACTIONS)}")
        try:
            body = json.loads(await request.read())
        except ValueError as error:
            raise InvalidRequestError("the body is not JSON") from error
        argument = body.get("argument") if isinstance(body, dict) else None
        if not isinstance(argument, str) or not argument:
            raise InvalidRequestError(f'give {{"argument": ...}}, {ACTIONS[action]}')
        result = await self._call(self._source.act, action, argument)
        # The page should show what was done: the next look is a fresh one.
        self._look = None
        return _json(json.dumps(plain(result)).encode())


def _query(request: web.Request) -> Query:
    if len(set(request.query)) != len(request.query):
        raise InvalidRequestError("a parameter is given twice")
    return read_query(request.query)


def _static(body: bytes, mime: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        del request
        return web.Response(body=body, content_type=mime, charset="utf-8")

    return answer


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json", charset="utf-8")


def _error(status: int, message: str) -> web.Response:
    body = json.dumps({"error": " ".join(message.split())[:500]}).encode()
    response = web.Response(status=status, body=body, content_type="application/json", charset="utf-8")
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
