"""`explain`: why each rule fired or did not, for what is stored or for the webhook in a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click
from sqlalchemy import Connection, Row

from callrail.kinds import FAMILY, Kind, kind_of
from callrail.payload import Payload, object_id, read_payload
from receiver.events import MAX_BODY_BYTES, find_events, is_emptied
from receiver.exceptions import DatabaseUnavailable
from receiver.ids import BadId, Prefix
from receiver.schema import EventState
from routers import ledger
from routers.cli.anew import FRESH, found_anew, lookups_option
from routers.cli.explanation import Explained, print_explained
from routers.cli.looking import media_shown, object_shown, only, personal_option, reading, tries_of
from routers.cli.options import config_option, database_option, output_option
from routers.cli.output import masked_fact
from routers.explaining import Occurrence, Why, supposed, too_late
from routers.explaining import explain as explain_all
from routers.forgetting import ERASED
from routers.history import made_with, occurrence_of, zones_then
from routers.media.rows import media_of
from routers.rules.conditions import Show, as_found
from routers.rules.fields import did_you_mean
from routers.transitions import INSTALLATION, Transition
from routers.zones import told_zones

if TYPE_CHECKING:
    from routers.config import Configuration
    from routers.deciding import Looking


@click.command()
@click.argument("what", required=False)
@click.option("--file", type=click.File("rb"), help="Explain the webhook whose raw body is in this file; - for stdin.")
@click.option("--kind", help="What the webhook in the file was posted as, like post_call.")
@click.option("--company", help="Whose webhook it is.")
@config_option
@click.option(
    "--rules",
    "trial",
    type=click.Path(path_type=Path),
    help="Ask the rules of this file, a whole router.yaml, instead. A trial: nothing is sent.",
)
@lookups_option("CallRail is asked anew for what the rules need; nothing of it is kept with what happened.")
@database_option
@output_option
@personal_option
def explain(
    what: str | None,
    file: BinaryIO | None,
    kind: str | None,
    company: str | None,
    config: Path,
    trial: Path | None,
    lookups: str,
    database_url: str,
    output: str,
    show_personal: bool,
) -> None:
    """Say why each rule fired or did not, in words.

    WHAT is the id of an event (ev_...), of one transition (tr_...) or of a delivery (dl_...), or as much of it as is
    unique. Nothing is sent and nothing is changed.
    """
    from routers.config import read_config

    if (what is None) is (file is None):
        raise click.UsageError("Name one thing to explain: an id like ev_06h10chs, or a webhook with --file.")
    if file is None and (kind is not None or company is not None):
        raise click.UsageError("--kind and --company say what is in a file; write --file too.")
    configuration = read_config(trial or config)
    asker = _Asker(configuration, trial or config, trial is not None, as_found if show_personal else masked_fact)
    if file is not None:
        explained = _explained_file(asker, file, kind, company, database_url, is_fresh=lookups == FRESH)
    else:
        explained = _explained_id(asker, str(what), database_url, is_fresh=lookups == FRESH)
    print_explained(explained, output=output)


def _explained_file(
    asker: _Asker, file: BinaryIO, kind: str | None, company: str | None, database_url: str, *, is_fresh: bool
) -> Explained:
    payload = cache(partial(_payload, file))  # which can be read once

    def find(asker: _Asker) -> Explained:
        return _of_file(asker, file.name, payload, kind, company, lambda: _told_zones(database_url))

    return _found_anew(asker, database_url, lambda _conn, asker: find(asker)) if is_fresh else find(asker)


def _explained_id(asker: _Asker, what: str, database_url: str, *, is_fresh: bool) -> Explained:
    _check_letters(what)
    if is_fresh:
        return _found_anew(asker, database_url, lambda conn, asker: _of_id(conn, asker, what))
    with reading(database_url) as conn:
        return _of_id(conn, asker, what)


def _found_anew(asker: _Asker, database_url: str, find: Callable[[Connection, _Asker], Explained]) -> Explained:
    """What *find* finds when CallRail has been asked anew."""
    return found_anew(
        asker.configuration, database_url, lambda conn, looking: find(conn, replace(asker, looking=looking))
    )


@dataclass(frozen=True, slots=True)
class _Asker:
    """The rules that are asked, how what is found reads, and how what they need is looked up."""

    configuration: Configuration
    path: Path
    is_trial: bool
    show: Show
    looking: Looking | None = None

    def explained(self, occurrence: Occurrence, zones: Mapping[str, str]) -> Explained:
        rules, company = self.configuration.rules, occurrence.company
        whys, notes = explain_all(rules, occurrence, told_zones=zones, show=self.show, looking=self.looking), []
        if company not in (INSTALLATION, *self.configuration.company_configs):
            notes.append(f"{self.path} has no company '{company}', so only rules for all companies look at this.")
        elif company in rules.hours and any(why.happening.local is None for why in whys):
            when, hint = "was" if occurrence.kept else "is", f"write time_zone: under {company} in {self.path}"
            notes.append(f"No time zone of {company} {when} known, so hours {when} not told; {hint}.")
        return Explained(self.path, self.is_trial, whys, notes)


# --- what is stored --------------------------------------------------------------------------------------------------


_Find = Callable[[Connection, str], Sequence[Row[Any]]]
_FINDERS: dict[Prefix, tuple[str, str, _Find]] = {
    Prefix.EVENT: ("event", "events", find_events),
    Prefix.TRANSITION: ("transition", "transitions", ledger.find_transitions),
    Prefix.DELIVERY: ("delivery", "deliveries", ledger.find_deliveries),
}
_ANY = ("event, transition or delivery", "events, transitions or deliveries")


def _letters(what: str) -> str:
    """The letters in front of an id; empty if it is written without."""
    return what.strip().lower().rpartition("_")[0]


def _check_letters(what: str) -> None:
    if _letters(what) not in ("", *_FINDERS):
        raise BadId(f"'{what}' is the id of nothing that can be explained; write one that begins with ev_, tr_ or dl_")


def _of_id(conn: Connection, asker: _Asker, what: str) -> Explained:
    """The event, transition or delivery whose id begins as *what*."""
    letters = _letters(what)
    asked = {prefix: finder for prefix, finder in _FINDERS.items() if letters in ("", prefix)}
    found = [(prefix, row) for prefix, (*_, find) in asked.items() for row in find(conn, what)]
    one, several, *_ = next(iter(asked.values())) if letters else _ANY
    row = only([row for _, row in found], one, what, several=several)
    if found[0][0] is Prefix.EVENT:
        return _of_event(conn, asker, row)
    if found[0][0] is Prefix.TRANSITION:
        return _of_transition(conn, asker, row)
    return _of_delivery(conn, asker, row)


def _of_event(conn: Connection, asker: _Asker, row: Row[Any]) -> Explained:
    rows = _known_transitions(conn, row.id, row.object_id)
    explained = _of_rows(conn, asker, rows, row) if rows else asker.explained(Occurrence(row.company, None), {})
    explained.event = _event(row)
    _add_object(conn, explained, row.object_id)
    if is_emptied(row):
        explained.notes.append(_EMPTIED)
    if not rows:
        explained.notes.append(_why_nothing(row))
    return explained


_EMPTIED = (
    "Data of this was removed, by its age (retention) or because the person was erased: what is not told below may "
    "have been told then. The stored verdicts are those of then."
)


def _known_transitions(conn: Connection, event_id: str, object_id: str | None) -> list[Row[Any]]:
    return [row for row in ledger.transitions_of_event(conn, event_id, object_id) if _is_known(row)]


def _is_known(row: Row[Any]) -> bool:
    """Whether this version knows such a transition; a later one may have routed it."""
    return row.name in list(Transition)


def _why_nothing(row: Row[Any]) -> str:
    """Why an event brought nothing about."""
    if row.repeat_of:
        return f"Nothing new happened: it repeats {row.repeat_of}. Explain that one."
    if row.reason == ERASED:
        return "Nothing happened: its person was erased, and this tells of a time before."
    if row.state == EventState.FAILED:
        return f"Nothing happened: it could not be routed ({row.reason or 'no reason is stored'})."
    if row.state == EventState.RECEIVED:
        return "Nothing happened yet: it waits to be routed. If it goes on waiting, no dispatcher is running."
    return "Nothing happened that rules can look at: it told nothing new of its call, text or form."


def _of_transition(conn: Connection, asker: _Asker, row: Row[Any]) -> Explained:
    if not _is_known(row):
        raise click.ClickException(f"{row.name} is known to another version of callrail-router only; use that one")
    (event,) = find_events(conn, row.event_id) or (None,)
    explained = _of_rows(conn, asker, _known_transitions(conn, row.event_id, row.object_id), event)
    explained.whys = [why for why in explained.whys if why.happening.id == row.id]
    explained.event = _event(event) if event is not None else None
    if event is not None and is_emptied(event):
        explained.notes.append(_EMPTIED)
    _add_object(conn, explained, row.object_id)
    return explained


def _of_rows(conn: Connection, asker: _Asker, rows: Sequence[Row[Any]], event: Row[Any] | None) -> Explained:
    """All that an event brought about; of one transition too, for each is asked about in the light of the others."""
    (obj,) = ledger.objects_of(conn, [rows[0].object_id]).values()
    occurrence = occurrence_of(
        conn,
        rows,
        type_=obj.type,
        received_at=event.received_at if event is not None else rows[0].created_at,
        kind=event.kind if event is not None else None,
    )
    if obj.erased_at is not None:  # of whom nothing is asked
        asker = replace(asker, looking=None)
    return asker.explained(occurrence, zones_then(asker.configuration.rules, rows, told_zones(conn)))


def _of_delivery(conn: Connection, asker: _Asker, row: Row[Any]) -> Explained:
    """The transition that is told, the rule that tells it first."""
    explained = _of_transition(conn, asker, ledger.transition_with(conn, row.transition_id))
    explained.whys = [_rule_first(why, row.rule) for why in explained.whys]
    explained.delivery = {
        "id": row.id,
        "rule": row.rule,
        "sink": row.sink,
        "state": row.state,
        "reason": row.reason,
        "note": made_with(conn, row).note,
        "due_at": row.due_at if row.finished_at is None else None,
        "finished_at": row.finished_at,
        "attempts": tries_of(conn, row.id),
    }
    return explained


def _rule_first(why: Why, rule: str) -> Why:
    return replace(why, rules=sorted(why.rules, key=lambda one: one.rule != rule))


def _event(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "received_at": row.received_at,
        "company": row.company,
        "kind": row.kind,
        "state": row.state,
        "note": row.reason,
        "repeat_of": row.repeat_of,
    }


def _add_object(conn: Connection, explained: Explained, object_id: str | None) -> None:
    """The call, text or form that it is about, and what was fetched of it."""
    found = ledger.objects_of(conn, [object_id]) if object_id else {}
    if object_id is not None and object_id in found:
        explained.object = object_shown(found[object_id])
        explained.media = [media_shown(file) for file in media_of(conn, object_id)]


# --- what is in a file -----------------------------------------------------------------------------------------------


def _of_file(
    asker: _Asker,
    name: str,
    read: Callable[[], Payload],
    kind: str | None,
    company: str | None,
    zones: Callable[[], dict[str, str]],
) -> Explained:
    """What the webhook in the file *name* would bring about, if nothing were known of its call, text or form."""
    posted, company = _kind(kind), _company(asker, company)
    payload = read()
    is_kind = kind_of(posted, payload.fields)
    now, zones_now = datetime.now(UTC), zones()
    occurrence = supposed(company, is_kind, payload.fields, now=now)
    explained = asker.explained(occurrence, zones_now)
    explained.event = {"file": name, "company": company, "kind": is_kind.value}
    explained.object = {"type": FAMILY[is_kind].value, "id": object_id(payload.fields)}
    explained.notes.insert(
        0,
        "It is taken as the first that is told of its object, and as received when that happened. "
        "Nothing is stored and nothing sent.",
    )
    if late := too_late(asker.configuration.rules, occurrence, now=now, told_zones=zones_now):
        explained.notes.append(f"Received now it would be late (max_age or expires), and tell less: {', '.join(late)}.")
    if is_kind is not posted:
        shape = "is none" if is_kind is Kind.UNKNOWN else f"looks like {is_kind}"
        explained.notes.append(f"You wrote --kind {posted}, but the body {shape}.")
    return explained


def _payload(file: BinaryIO) -> Payload:
    body = file.read(MAX_BODY_BYTES + 1)
    if len(body) > MAX_BODY_BYTES:
        raise click.UsageError(f"{file.name} is larger than {MAX_BODY_BYTES} bytes, and no webhook is.")
    payload = read_payload(body)
    if payload.problem or not payload.fields:
        problem = payload.problem or "the body tells nothing"
        raise click.UsageError(
            f"{file.name} is no webhook: {problem}; write the raw body CallRail posts, JSON or form."
        )
    return payload


def _kind(written: str | None) -> Kind:
    if written is None:
        raise click.UsageError("CallRail names the kind of a webhook nowhere in it; write one, like --kind post_call.")
    kinds = [kind.value for kind in Kind]
    name = written.replace("-", "_").lower()
    if name not in kinds:
        raise click.UsageError(f"There is no kind '{written}'; {did_you_mean(name, kinds) or _there_are(kinds)}")
    return Kind(name)


def _company(asker: _Asker, written: str | None) -> str:
    known = list(asker.configuration.company_configs)
    if written is None:
        raise click.UsageError(f"Say whose webhook it is with --company; {_there_are(known)}")
    if written not in known:
        hint = did_you_mean(written, known) or _there_are(known)
        raise click.UsageError(f"{asker.path} has no company '{written}'; {hint}")
    return written


def _there_are(names: Sequence[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"there are: {', '.join(names[:20])}{more}"


def _told_zones(database_url: str) -> dict[str, str]:
    """The zones that calls told; none where there is no database, which a file does not need."""
    try:
        with reading(database_url) as conn:
            return told_zones(conn)
    except DatabaseUnavailable:
        return {}
