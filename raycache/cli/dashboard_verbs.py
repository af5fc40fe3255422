"""`dashboard`: serve the page that shows the cache."""

from __future__ import annotations

import secrets

import click

from raycache.cli.arguments import Verb
from raycache.cli.session import Session


@click.command(cls=Verb, topic="Watching")
@click.option("--port", type=click.IntRange(0, 65535), help="Where to serve it; 0: any free port. [default: 8268]")
@click.option(
    "--host", metavar="ADDRESS", help="Address to serve; 0.0.0.0 for all of the head node's. [default: 127.0.0.1]"
)
@click.option(
    "--name", "names", multiple=True, metavar="NAME", help="A further name that browsers may ask for; may be repeated."
)
@click.option(
    "--actions", is_flag=True, help="Allow load, free, pin and stop from the page, with the token that is shown."
)
@click.option("--stop", "stopping", is_flag=True, help="End it.")
@click.pass_obj
def dashboard(
    session: Session, port: int | None, host: str | None, names: tuple[str, ...], actions: bool, stopping: bool
) -> None:
    """Serve the dashboard, and show its address.

    Anybody who reaches the address may look. To see it from elsewhere: `ssh -L 8268:127.0.0.1:8268 HEAD`.
    """
    if stopping:
        session.backend.stop_dashboard(session.address)
        if session.json:
            session.output.json({"stopped": True})
        else:
            session.output.line("the dashboard is stopped")
        return
    token = secrets.token_urlsafe(24) if actions else None
    url = session.backend.dashboard(session.address, port, host, token, names or None)
    if session.json:
        session.output.json({"url": url, "token": token})
        return
    session.output.line(f"the dashboard is at {url}")
    if token:
        session.output.line(f"actions need this token, which is shown only now: {token}")
