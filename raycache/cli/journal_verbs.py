"""`journal`: what a master has written down, for people who look for what went wrong; no cache need run."""

from __future__ import annotations

import json
from typing import Any

import click

from raycache.cli.arguments import Verb, note_secrets_of_uri
from raycache.cli.output import Column, numbers
from raycache.cli.session import Session
from raycache.errors import InvalidRequestError
from raycache.master.journal.opening import open_journal
from raycache.master.journal.records import Record
from raycache.settings import Settings
from raycache.ufs.shown_options import shown_option


@click.command(cls=Verb, topic="Cluster")
@click.argument("action", type=click.Choice(["show", "check"]))
@click.argument("place", required=False)
@click.pass_obj
def journal(session: Session, action: str, place: str | None) -> int:
    """Show a master's journal, or check that it is whole.

    PLACE is a directory of this machine or a URI, as the setting journal has it; without it that setting counts. Secrets
    are hidden. Nothing is changed, and a master may write meanwhile. The exit status of check is 1 when something is
    damaged or missing.
    """
    place = place or Settings.load()[0].journal
    if not place:
        raise InvalidRequestError("no journal is named; give its directory or URI (`raycache settings` shows it)")
    note_secrets_of_uri(session, place)
    found = open_journal(place).look()
    damage = [*found.damage, *(["the last line was being written when its master died"] if found.torn else [])]
    if action == "check":
        if session.json:
            session.output.json({"records": len(found.records), "damage": damage})
        else:
            for line in damage:
                session.output.error(line)
            session.output.line(f"{len(found.records)} whole records, {len(damage)} problems")
        return 1 if damage else 0
    records = [_shown(record) for record in found.records]
    if session.json:
        session.output.json({"records": records, "owners": found.owners, "damage": damage})
        return 0
    rows = [
        (str(number), owner, str(record.pop("op", "")), json.dumps(record, ensure_ascii=False, sort_keys=True))
        for number, (record, owner) in enumerate(zip(records, found.owners, strict=True))
    ]
    session.output.table([*numbers("No."), Column("Written by"), Column("What"), Column("Record")], rows, empty="empty")
    for line in damage:
        session.output.error(line)
    return 0


def _shown(record: Record) -> dict[str, Any]:
    """A record without what may be secret, and without what nobody can read."""
    shown = dict(record)
    if isinstance(options := record.get("options"), dict):
        shown["options"] = {name: shown_option(name, value) for name, value in options.items()}
    if isinstance(pages := record.get("pages"), list):
        shown["pages"] = f"{len(pages)} pages"
    return shown
