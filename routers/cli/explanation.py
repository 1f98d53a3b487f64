"""How an explanation is printed: as text for whoever asks why, or as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import click

from routers.cli.output import local, plain, print_one
from routers.durations import age_of
from routers.explaining import Happening, LookedUp, RuleWhy, Told, Why, in_words
from routers.lookups.answers import Source
from routers.rules.reasons import Reason
from routers.rules.ruleset import FIRED, Send
from routers.sizes import written_size

_NO_RULE = in_words(Reason.NO_RULE.value)


@dataclass(slots=True)
class Explained:
    """An answer of `explain`: what was asked about, whose rules were asked, and what they say of each transition."""

    path: Path
    is_trial: bool
    whys: Sequence[Why]
    notes: list[str] = field(default_factory=list)
    event: dict[str, Any] | None = None
    object: dict[str, Any] | None = None
    media: Sequence[dict[str, Any]] = ()
    delivery: dict[str, Any] | None = None


def print_explained(explained: Explained, *, output: str) -> None:
    if output != "table":
        print_one(_as_data(explained), output=output)
        return
    for line in _lines(explained):
        click.echo(line)


# --- for machines ----------------------------------------------------------------------------------------------------


def _as_data(explained: Explained) -> dict[str, Any]:
    return {
        "rules_of": str(explained.path),
        "is_trial": explained.is_trial,
        "notes": explained.notes,
        "delivery": explained.delivery,
        "event": explained.event,
        "object": explained.object,
        "media": list(explained.media),
        "transitions": [_why_as_data(why) for why in explained.whys],
    }


def _why_as_data(why: Why) -> dict[str, Any]:
    happening = why.happening
    return {
        "id": happening.id,
        "transition": happening.name,
        "occurred_at": happening.occurred_at,
        "local_time": happening.local,
        "reason": why.reason,
        "nobody_told": why.nobody,
        "rules_changed": why.rules_changed,
        "looked_up": [asdict(one) for one in why.looked_up],
        "rules": [asdict(rule) for rule in why.rules],
        "nearest": why.nearest,
        "unmatched": why.unmatched,
        "unmatched_deliveries": [asdict(told) for told in why.unmatched_deliveries],
        "looking_at_others": [asdict(one) for one in why.near],
    }


# --- for people ------------------------------------------------------------------------------------------------------


def _lines(explained: Explained) -> Iterator[str]:
    if explained.is_trial:
        yield _bold(f"A trial: these are the rules of {explained.path}. Nothing is sent.")
    if explained.delivery:
        yield from _delivery(explained.delivery)
    if explained.event:
        yield _event(explained)
    yield from map(_file, explained.media)
    yield from (plain(note) for note in explained.notes)
    if not explained.is_trial and any(why.rules_changed for why in explained.whys):
        yield "The rules have changed since: what stands behind `then` was decided by others."
    for why in explained.whys:
        yield ""
        yield from _why(why)


def _event(explained: Explained) -> str:
    event, obj = explained.event or {}, explained.object
    name = event.get("id") or event.get("file")
    received = f", received {local(event['received_at'])} UTC" if "received_at" in event else ""
    about = f": {obj['type']} {obj['id'] or 'without an id'}" if obj else ""
    return plain(f"{event['kind']} of {event['company']} ({name}){received}{about}")


def _file(file: dict[str, Any]) -> str:
    if file["path"] is not None:
        told = f"{file['path']} ({written_size(file['size'])}, {file['content_type']})"
    else:
        told = file["reason"] or "not tried yet"
    due = f", next try {local(file['next_attempt_at'])} UTC" if file["next_attempt_at"] else ""
    return plain(f"{file['kind']} {file['state']}: {told}{due}")


def _delivery(delivery: dict[str, Any]) -> Iterator[str]:
    yield _bold(f"{delivery['id']}: the rule {delivery['rule']} tells {delivery['sink']}")
    reason = f": {delivery['reason']}" if delivery["reason"] else ""
    due = f", next try due {local(delivery['due_at'])} UTC" if delivery["due_at"] else ""
    yield plain(f"  {delivery['state']}{reason}{due}")
    if delivery["note"]:
        yield plain(f"  {delivery['note']}")
    for number, tried in enumerate(delivery["attempts"], 1):
        how = tried["outcome"] + (f": {tried['reason']}" if tried["reason"] else "")
        yield plain(f"  try {number} at {local(tried['started_at'])} UTC, {tried['milliseconds']} ms: {how}")


def _why(why: Why) -> Iterator[str]:
    happening = why.happening
    id_ = f", {happening.id}" if happening.id else ""
    yield f"{_bold(happening.name)} on {_when(happening)}{id_}"
    if why.nobody and (why.rules or why.nobody != _NO_RULE):  # else the next line says it better
        yield f"  Nobody was told: {plain(why.nobody)}"
    yield from map(_looked_up, why.looked_up)
    if all(rule.fired is None for rule in why.rules):
        yield f"  {_nobody_looks(why)}"
        yield from (f"    {one.rule} looks at {', '.join(one.when)}" for one in why.near)
    for rule in why.rules:
        yield from _rule(rule, is_stored=happening.stored is not None)
    if why.nearest:
        yield f"  nearest: {plain(why.nearest)}"
    if why.unmatched or why.unmatched_deliveries:
        told = _told(why.unmatched_deliveries)
        yield plain(f"  unmatched: {why.unmatched or 'It does not look at this any more.'}{told and f' then: {told}'}")


def _looked_up(one: LookedUp) -> str:
    how = {Source.API: "just asked", Source.NOT_ASKED: "not asked"}
    age = how.get(Source(one.source)) or f"told {age_of(timedelta(seconds=one.age))} before"
    found = f"no answer, {one.problem}" if one.problem else ", ".join(one.found) or "nothing is told"
    return plain(f"  looked up {one.name} ({age}): {found}")


def _nobody_looks(why: Why) -> str:
    happening = why.happening
    if happening.is_superseded:
        return "No rule is asked of what is known too late."
    if happening.facts is None:
        return "What was known then is not stored, so no rule can be asked again."
    others = "These rules look at other transitions:" if why.near else "None looks at anything like it."
    return f"No rule looks at {happening.name} of {happening.company}. {others}"


def _when(happening: Happening) -> str:
    if happening.local is None:
        return f"{happening.occurred_at.astimezone(UTC):%a %d %b %Y, %H:%M} (UTC)"
    return f"{happening.local:%a %d %b %Y, %H:%M} ({happening.local.tzinfo})"


def _rule(rule: RuleWhy, *, is_stored: bool) -> Iterator[str]:
    name = click.style(f" ({plain(rule.name)})", dim=True) if rule.name else ""
    if rule.fired:
        yield f"  {click.style('✓', fg='green')} {rule.rule}{name} fires, to {_sinks(rule.sends)}"
    else:
        mark = click.style("·" if rule.fired is None else "✗", fg="red")
        yield f"  {mark} {rule.rule}{name} {'is not asked' if rule.fired is None else 'does not fire'}"
    shown = rule.findings if rule.fired else rule.misses
    yield from (f"      {plain(line)}" for line in shown)
    if not rule.is_kept_by_condition and rule.reason != FIRED:
        yield f"      {plain(rule.sentence)}"
    if rule.note:
        yield plain(f"      {rule.note}")
    if is_stored:
        told = _told(rule.deliveries)
        yield plain(f"      then: {rule.then_sentence}{told and f' {told}'}")


def _sinks(sends: Sequence[Send]) -> str:
    return ", ".join(f"{send.sink} (role {send.role})" if send.role else send.sink for send in sends)


def _told(deliveries: Sequence[Told]) -> str:
    """`crm: delivered, HTTP 200 (dl_...)`, of each delivery."""
    return "; ".join(
        f"{told.sink}: {told.state}{f', {told.reason}' if told.reason else ''} ({told.id})"
        f"{f', {told.note}' if told.note else ''}"
        for told in deliveries
    )


def _bold(text: str) -> str:
    return click.style(plain(text), bold=True)
