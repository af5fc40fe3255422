"""A real Chromium without a window, driven over its own DevTools protocol: no driver, no other package.

Everything is awaited in one event loop. A page's console errors and exceptions are collected, so that a test can ask for
none.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_START_TIMEOUT_S = 60.0
_ANSWER_TIMEOUT_S = 30.0
_POLL_S = 0.05


def find_chromium() -> str | None:
    """The browser's program; None where there is none."""
    return next((path for path in map(shutil.which, _PROGRAMS) if path), None)


class Page:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        #: What the console said in red, exceptions included.
        self.errors: list[str] = []
        self._listening = asyncio.get_running_loop().create_task(self._listen())

    async def call(self, method: str, **parameters: Any) -> Any:
        """One command of the protocol."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        return await asyncio.wait_for(answer, _ANSWER_TIMEOUT_S)

    async def _listen(self) -> None:
        async for message in self._socket:
            event = json.loads(message.data)
            if "id" in event:
                answer = self._answers.pop(event["id"])
                if "error" in event:
                    answer.set_exception(RuntimeError(str(event["error"])))
                else:
                    answer.set_result(event["result"])
            elif event["method"] == "Runtime.exceptionThrown":
                self.errors.append(str(event["params"]["exceptionDetails"]))
            elif event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                entry = event["params"]["entry"]
                self.errors.append(f"{entry['text']} {entry.get('url', '')}")
            elif event["method"] == "Page.javascriptDialogOpening":
                self.errors.append(f"dialog: {event['params']['message']}")
                await self._socket.send_json(
                    {
                        "id": next(self._numbers) + 1_000_000,
                        "method": "Page.handleJavaScriptDialog",
                        "params": {"accept": True},
                    }
                )
                self._answers.setdefault(0, asyncio.get_running_loop().create_future())

    async def prepare(self, width: int, height: int, *, dark: bool = False, scale: float = 1.0) -> None:
        """Enable what is needed, and set the window."""
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        await self.call("Emulation.setFocusEmulationEnabled", enabled=True)
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme, still])

    async def open(self, url: str) -> None:
        """Go to a page."""
        await self.call("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are awaited."""
        result = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    async def until(self, script: str, timeout_s: float = 30.0, good: Callable[[Any], bool] = bool) -> Any:
        """Poll until an expression is as wanted; returns its value."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            value = await self.run(script)
            if good(value):
                return value
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"{script} is {value!r} after {timeout_s:g} s")
            await asyncio.sleep(_POLL_S)

    async def click(self, selector: str) -> None:
        """Click the middle of an element with the mouse, as a person does."""
        place = await self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
            " const r = e.getBoundingClientRect(); return [r.left + r.width / 2, r.top + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.call(
                "Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1
            )  # fmt: skip

    async def type(self, selector: str, text: str) -> None:
        """Type into a field."""
        await self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.call("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        """Press a key, as a person does: "Tab", "Enter", "Escape"."""
        code, text = {"Tab": (9, ""), "Enter": (13, "\r"), "Escape": (27, "")}[key]
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text if kind == "keyDown" else "",
            )  # fmt: skip

    async def texts(self, selector: str) -> list[str]:
        """The visible texts of all elements that match."""
        found: list[str] = await self.run(
            f"[...document.querySelectorAll({json.dumps(selector)})].map((e) => e.innerText.trim())"
        )
        return found

    async def screenshot(self, path: Path, *, full: bool = False) -> None:
        """Write a PNG of the window, or of the whole page."""
        shot = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full)
        await asyncio.to_thread(path.write_bytes, base64.b64decode(shot["data"]))

    async def close(self) -> None:
        """End the tab."""
        self._listening.cancel()
        await self._socket.close()


@asynccontextmanager
async def chromium(
    width: int = 1360, height: int = 900, *, dark: bool = False, scale: float = 1.0
) -> AsyncIterator[Page]:
    """A fresh browser with one empty tab."""
    program = find_chromium()
    assert program is not None
    with tempfile.TemporaryDirectory(prefix="raycache-chromium-", ignore_cleanup_errors=True) as folder:
        process = await asyncio.create_subprocess_exec(
            program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
            "--force-color-profile=srgb", "--font-render-hinting=none", "--remote-debugging-port=0",
            f"--user-data-dir={folder}", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            port = await _port(Path(folder))
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                    targets = await answer.json()
                url = next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page")
                page = Page(await session.ws_connect(url, max_msg_size=0, heartbeat=None))
                await page.prepare(width, height, dark=dark, scale=scale)
                yield page
                await page.close()
        finally:
            process.kill()
            await process.wait()


async def _port(folder: Path) -> int:
    """Chromium writes the port it has chosen."""
    deadline = asyncio.get_running_loop().time() + _START_TIMEOUT_S
    while asyncio.get_running_loop().time() < deadline:
        file = folder / "DevToolsActivePort"
        if file.exists() and (lines := file.read_text().split()):
            return int(lines[0])
        await asyncio.sleep(_POLL_S)
    raise AssertionError(f"Chromium did not start within {_START_TIMEOUT_S:g} s")
