"""Workload: cables that are cut for seconds while epochs run, warm and cold ones in turn, at each host in turn.

Every epoch must be right, and end not much later than the cable is mended. What Ray Data does by itself is shown beside with
`--full`, on some: it may take minutes.
"""

from __future__ import annotations

import random
import sys
import time

from benchmarks.measure import Finding
from benchmarks.on_hosts import BUCKET, NODES, READS, running, shape
from raycache.errors import UnavailableError
from raycache.testing.hosts import missing

#: Of a cut, in seconds.
SHORTEST_S, LONGEST_S = 5.0, 20.0
#: How much longer than its cut an epoch may take.
SLACK_S = 20.0
_GIVEN_UP_S = 300.0
_DIRECT_EVERY = 5


def measure(cuts: int, seed: int = 0, *, full: bool = False) -> list[Finding]:
    """Cut and mend; about half a minute for each cut.

    Args:
        cuts: how many.
        seed: of their lengths.
        full: some epochs are read from S3 directly, too.
    """
    reason = missing()
    if reason:
        return [Finding("hosts", f"none: {reason}")]
    draw = random.Random(seed)
    beyond_s: dict[str, list[float]] = {"placed": [], "direct-v1": []}
    wrong = hung = 0
    with running() as (fleet, driver, written):
        shape(fleet, 400)
        driver.call(f"{READS}:epoch", _GIVEN_UP_S, way="placed", bucket=BUCKET, directory="set")
        for number in range(cuts):
            victim, cut_s = [*NODES, "lake"][number // 2 % 4], draw.uniform(SHORTEST_S, LONGEST_S)
            for way in ("placed", *(["direct-v1"] if full and number % _DIRECT_EVERY == 0 else [])):
                if way == "placed" and number % 2:
                    driver.call(f"{READS}:free")
                driver.begin(f"{READS}:epoch", way=way, bucket=BUCKET, directory="set")
                driver.event()
                with fleet.cut_off(victim):
                    time.sleep(cut_s)
                try:
                    epoch = driver.result(_GIVEN_UP_S)
                except UnavailableError as error:
                    print(f"cut {number} of {victim}, {way}: {error}", file=sys.stderr, flush=True)
                    hung += 1
                    continue
                wrong += (epoch["rows"], epoch["total"]) != (written["rows"], written["total"])
                beyond_s[way].append(epoch["seconds"] - cut_s)
                print(
                    f"cut {number} of {victim} for {cut_s:.1f} s, {way}, {'cold' if number % 2 else 'warm'}: "
                    f"{epoch['seconds']:.1f} s",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
    worst_s, stock_s = max(beyond_s["placed"], default=0.0), max(beyond_s["direct-v1"], default=0.0)
    late = sum(seconds > SLACK_S for seconds in beyond_s["placed"])
    return [
        Finding("cuts of 5 to 20 s, of one host or the lake, during warm and cold epochs", f"{cuts}"),
        Finding("epochs with wrong rows", f"{wrong}", "0", wrong == 0),
        Finding("epochs that failed or never ended", f"{hung}", "0", hung == 0),
        Finding("epochs longer than their cut + 20 s", f"{late}", "0", late == 0),
        Finding("the longest epoch, less its cut", f"{worst_s:.1f} s", "<= 20 s", worst_s <= SLACK_S),
        *([Finding("the same from S3 directly, without the cache", f"{stock_s:.1f} s")] if full else []),
    ]
