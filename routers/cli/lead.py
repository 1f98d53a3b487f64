"""`lead`: the whole story of one person, and taking back that two were found to be one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from callrail.phones import e164
from receiver.ids import Prefix, id_range
from routers.audit import note
from routers.cli.groups import Commands
from routers.cli.looking import only, opened, personal_option, reading
from routers.cli.options import database_option, output_option
from routers.cli.output import local, masked, print_one, print_rows
from routers.lead_story import Story, stories_of_lead, stories_of_number
from routers.leads import find_merges, undo_merge
from routers.operating import clock_of


@click.group(cls=Commands)
def lead() -> None:
    """One person: calls, texts and forms, who was told, and what CRMs call them."""


@lead.command("show")
@click.argument("number_or_id")
@database_option
@output_option
@personal_option
def show_lead(number_or_id: str, database_url: str, output: str, show_personal: bool) -> None:
    """The whole story of a person: by their number, however it is written, or by the id of a lead."""
    number = None if number_or_id.strip().startswith(f"{Prefix.LEAD}_") else e164(number_or_id)
    with reading(database_url) as conn:
        stories = stories_of_number(conn, number) if number else stories_of_lead(conn, number_or_id)
    if not stories:
        raise click.ClickException(
            "nobody with this number is stored" if number else f"there is no lead {number_or_id}"
        )
    shown = [_shown(story, show_personal=show_personal) for story in stories]
    if output == "table":
        for story in shown:
            print_one(_in_lines(story), output=output)
    else:
        print_rows(shown, output=output, empty="")


@lead.command("undo")
@click.argument("merge_id")
@database_option
def undo(merge_id: str, database_url: str) -> None:
    """Take back a merge of two leads, so that they stay two: `lead show` lists merges with their ids.

    What was sent to a CRM meanwhile stays where it is there.
    """
    first, last = id_range(Prefix.MERGE, merge_id)
    with opened(database_url) as database, database.writing.begin() as conn:
        row = only(find_merges(conn, first, last), "merge", merge_id)
        now = clock_of(database).now(conn)
        if not undo_merge(conn, row.id, now=now):
            raise click.ClickException(f"{row.id} is taken back already; nothing was changed")
        note(conn, now=now, action="lead undo", subject=row.id)
    click.echo(f"{row.lead_id} and {row.into_id} are two again, and stay two.", err=True)


def _shown(story: Story, *, show_personal: bool) -> dict[str, Any]:
    of_leads = set(story.lead.family) if story.lead is not None else set()
    things = {thing.row.id: thing.row.object_id for thing in story.things}
    return {
        "company": story.company,
        **masked({"customer_name": story.name}, show_personal=show_personal),
        "lead": story.lead.id if story.lead is not None else None,
        "known_by": [
            {"key": key.kind.value, **masked({_FIELDS[key.kind.value]: key.value}, show_personal=show_personal)}
            for key in (story.lead.keys if story.lead is not None else ())
        ],
        "happened": [
            {"at": thing.at, "what": thing.what, "id": thing.row.object_id, "note": thing.note}
            for thing in story.things
        ],
        "called": [
            {
                "sink": row.sink,
                "kind": row.kind,
                "id": row.remote_id or "nobody knows whether it was created",
                "of": "the person" if row.subject in of_leads else things.get(row.subject),
            }
            for row in story.called
        ],
        "waiting": [
            {"delivery": row.id, "sink": row.sink, "state": row.state, "due_at": row.due_at, "reason": row.reason}
            for row in story.waiting
        ],
        "merges": [
            {
                "id": row.id,
                "merged": row.lead_id,
                "into": row.into_id,
                "at": row.merged_at,
                "because_of": things.get(row.object_id, row.object_id),
                "undone_at": row.undone_at,
            }
            for row in story.merges
        ],
    }


def _in_lines(shown: Mapping[str, Any]) -> dict[str, Any]:
    """The same with a line for each thing, so that a person's story fits a screen."""
    known: dict[str, str] = {}
    for each in shown["known_by"]:
        kind, value = each.values()
        known[kind] = f"{known[kind]}, {value}" if kind in known else value
    return {
        **shown,
        "known_by": known,
        "happened": {
            each["id"]: f"{local(each['at'])}  {each['what']}" + (f"; {each['note']}" if each["note"] else "")
            for each in shown["happened"]
        },
        "called": {f"{each['sink']} {each['kind']} of {each['of']}": each["id"] for each in shown["called"]},
        "waiting": {
            str(n): f"{each['delivery']} to {each['sink']}: {each['state']}, due {local(each['due_at'])}"
            + (f"; {each['reason']}" if each["reason"] else "")
            for n, each in enumerate(shown["waiting"], 1)
        },
        "merges": {
            str(
                n
            ): f"{each['id']} at {local(each['at'])}: {each['merged']} into {each['into']}, by {each['because_of']}"
            + (f"; undone at {local(each['undone_at'])}" if each["undone_at"] else "")
            for n, each in enumerate(shown["merges"], 1)
        },
    }


# As the fields are called that tell of it, for what masks them.
_FIELDS = {
    "person": "person_resource_id",
    "phone": "customer_phone_number",
    "email": "contact_email",
    "thread": "thread_resource_id",
}
