"""`report` and `doctor`: what to paste into an issue, and what to do about it."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import click

from raycache import __version__
from raycache.cli.arguments import Verb
from raycache.cli.output import human_bytes, human_seconds, percent, printable
from raycache.cli.session import Session
from raycache.metrics import FIGURES
from raycache.results import Setting

if TYPE_CHECKING:
    from raycache.admin.checks.doctor import Finding
    from raycache.admin.overview import Overview

_SHOWN_MAX = 15


@click.command(cls=Verb, topic="Watching")
@click.option("--clean", is_flag=True, help="Remove what dead workers have left on the disks.")
@click.pass_obj
def doctor(session: Session, clean: bool) -> int:
    """Look for trouble, and say what to do.

    Looks at Ray, workers, memory, disks, mounts, event loops, clocks and leftovers.

    Fails when something does not work.
    """
    from raycache.admin.checks.doctor import BAD, examine

    mode, reason, _ = session.backend.placement()
    findings = examine(session.cache().client, mode, reason, clean=clean)
    _show(session, findings)
    return int(any(finding.level == BAD for finding in findings))


@click.command(cls=Verb, topic="Upkeep")
@click.option("--repair", is_flag=True, help="Drop what is damaged, belongs to nothing, or is not what the lake has.")
@click.pass_obj
def fsck(session: Session, repair: bool) -> int:
    """Read all disk tiers, and compare with the lake.

    Fails when something is damaged and was not repaired.
    """
    from raycache.admin.checks.doctor import BAD
    from raycache.admin.checks.fsck import check

    findings = check(session.cache().client, repair=repair)
    _show(session, findings)
    return int(any(finding.level == BAD and finding.remedy for finding in findings))


def _show(session: Session, findings: list[Finding]) -> None:
    if session.json:
        session.output.json(findings)
    else:
        for finding in findings:
            session.output.line(f"{finding.level:4}  {finding.subject}: {finding.text}")
            if finding.remedy:
                session.output.line(f"      -> {finding.remedy}")


@click.command(cls=Verb, topic="Watching")
@click.pass_obj
def report(session: Session) -> None:
    """Write a summary to paste into an issue.

    Figures, versions and findings; no secrets, no names of buckets, paths or machines.
    """
    from raycache.admin.checks.doctor import examine

    cache = session.cache()
    mode, reason, ray_version = session.backend.placement()
    overview = cache.overview()
    findings = examine(cache.client, mode, reason)
    settings = [setting for setting in cache.settings() if setting.origin != "default"]
    if session.json:
        session.output.json(
            {
                "raycache": __version__, "ray": ray_version, "python": platform.python_version(),
                "overview": overview, "settings": settings, "findings": findings,
            }
        )  # fmt: skip
        return
    text = summary(overview, settings, findings, ray_version)
    for line in text.splitlines():
        session.output.line(line)


def summary(overview: Overview, settings: list[Setting], findings: list[Finding], ray_version: str) -> str:
    """The report in Markdown. Paths, URIs and values of settings that may name somebody's data are left out."""
    total, ever = overview.stats.total, overview.ever
    schemes = sorted({mount.uri.partition("://")[0] for mount in overview.mounts})
    lines = [
        "### raycache report",
        "",
        f"raycache {__version__}, Ray {ray_version}, Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        (
            f"{overview.workers_alive} of {len(overview.nodes)} workers alive, up {human_seconds(overview.uptime_s)}; "
            f"{len(overview.mounts)} mounts ({', '.join(schemes) or 'none'}), {overview.files_known} files known"
        ),
        f"settings that differ: {', '.join(s.name for s in settings) or 'none'}",
        "",
        "| window | blocks asked | hit rate | by bytes | read |",
        "|---|---|---|---|---|",
    ]
    for name, reads in (("1 min", overview.minute), ("15 min", overview.quarter), ("since start", ever)):
        hits, cached = reads.counters.hits, reads.counters.bytes_memory + reads.counters.bytes_disk
        lines.append(
            f"| {name} | {reads.asked} | {percent(hits, reads.asked)} | {percent(cached, reads.bytes_read)} | "
            f"{human_bytes(reads.bytes_read)} |"
        )
    missed = [f"{FIGURES[f'missed_{r}'].title.lower()} {count}" for r, count in ever.missed.items() if count]
    lines += [
        "",
        f"missed: {', '.join(missed) or 'nothing'}",
        (
            f"lake: {total.ufs_requests} requests ({total.ufs_errors} failed), {human_bytes(total.ufs_bytes)}; "
            f"evictions {total.evictions}, refusals {total.refusals}, disk errors {total.disk_errors}, "
            f"corrupt segments {total.corrupt_segments}"
        ),
        "",
        "| node | state | hit rate | local | remote | bypass | memory | disk | evictions | plasma |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for number, node in enumerate(overview.nodes[:_SHOWN_MAX], 1):
        stats = node.stats
        lines.append(
            f"| {number} | {node.state} | {percent(stats.hits, node.reads.asked)} | "
            f"{human_bytes(stats.bytes_local)} | {human_bytes(stats.bytes_remote)} | {human_bytes(stats.bytes_bypass)} | "
            f"{human_bytes(stats.memory_used_bytes)} / {human_bytes(stats.memory_capacity_bytes)} | "
            f"{human_bytes(stats.disk_used_bytes)} / {human_bytes(stats.disk_capacity_bytes)} | {stats.evictions} | "
            f"{percent(stats.plasma_used_bytes, stats.plasma_capacity_bytes)} |"
        )
    if len(overview.nodes) > _SHOWN_MAX:
        lines.append(f"| and {len(overview.nodes) - _SHOWN_MAX} more | | | | | | | | | |")
    lines += [
        "",
        "loads: " + (", ".join(progress.state.lower() for _, progress in overview.jobs[:_SHOWN_MAX]) or "none"),
    ]
    lines += ["", "findings:", *(f"- {f.level} {f.subject}" for f in findings)]
    return "\n".join(printable(line) for line in lines)
