"""`dashboard`, `endpoint`: serve the page that shows the cache, and S3."""

from __future__ import annotations

import secrets
import shlex

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


@click.command(cls=Verb, topic="Cluster")
@click.argument("action", type=click.Choice(["start", "stop", "env"]))
@click.option("--port", type=click.IntRange(0, 65535), help="The same on every node; 0: any free one. [default: 8269]")
@click.option("--host", metavar="ADDRESS", help="Address to serve on each node. [default: 127.0.0.1]")
@click.option("--anonymous", is_flag=True, help="Serve requests without keys, too.")
@click.pass_obj
def endpoint(session: Session, action: str, port: int | None, host: str | None, anonymous: bool) -> None:
    """Serve S3 from every node, or show its keys.

    `env` shows the variables with which S3 clients on this node read through it;
    `eval "$(raycache endpoint env)"` sets them in a shell. They hold the endpoint's keys.
    """
    if action == "stop":
        session.backend.stop_endpoint(session.address)
        if session.json:
            session.output.json({"stopped": True})
        else:
            session.output.line("the endpoint is stopped")
        return
    if action == "start":
        found = session.backend.endpoint(session.address, port, host, anonymous)
        if session.json:
            session.output.json({"url": found.url})
        else:
            session.output.line(f"the endpoint of this node is at {found.url}; `raycache endpoint env` shows its keys")
        return
    variables = session.cache().endpoint().environment()
    if session.json:
        session.output.json(variables)
        return
    for name, value in variables.items():
        session.output.line(f"export {name}={shlex.quote(value)}")
