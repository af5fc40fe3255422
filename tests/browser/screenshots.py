"""`make screenshots`: pictures of the dashboard before a simulated cluster, for the README and the docs."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

from aiohttp import web
from PIL import Image

from raycache.dashboard.security import Guard
from raycache.dashboard.server import Dashboard
from raycache.dashboard.views import Prices
from tests.support.chrome import chromium, find_chromium
from tests.support.fake_source import FakeSource

FOLDER = Path(__file__).resolve().parents[2] / "docs/images"
_COLOURS = 128
#: Name, view, width, height, dark, scale.
SHOTS = (
    ("overview", "overview", 1360, 890, False, 1.0),
    ("nodes", "nodes", 1480, 700, False, 1.0),
    ("dark", "overview", 1360, 890, True, 1.0),
    ("phone", "overview", 390, 844, False, 1.5),
)


async def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    app = Dashboard(FakeSource(evil=False), Guard("127.0.0.1", ""), Prices(0.0004, 0.02)).application()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    for name, view, width, height, dark, scale in SHOTS:
        async with chromium(width, height, dark=dark, scale=scale) as page:
            await page.open(f"http://127.0.0.1:{port}/#/{view}")
            await page.until("document.querySelectorAll('main section').length > 0")
            await page.until("document.fonts.ready.then(() => true)")
            path = FOLDER / f"{name}.png"
            await page.screenshot(path)
            await asyncio.to_thread(_shrink, path)
            print(f"{path.relative_to(Path.cwd())}: {(await asyncio.to_thread(path.stat)).st_size} bytes")
    await runner.cleanup()


def _shrink(path: Path) -> None:
    """Few colours make a small file, and the page has few."""
    picture = Image.open(io.BytesIO(path.read_bytes())).convert("RGB")
    picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    if find_chromium() is None:
        print("no Chromium here: no screenshots")
    else:
        asyncio.run(main())
