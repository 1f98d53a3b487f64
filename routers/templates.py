"""Templates: from a delivery to its message, made when it is sent, from the stored facts.

A template is one Jinja text (`routers.sandbox` says how much of Jinja). Its first line that is not empty becomes the
message's title, the others its lines. The built-in ones are `default_templates/NAME.jinja`, one a transition.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import tzinfo
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from callrail.fields import FIELDS
from receiver.loggers import get_logger
from routers.escapes import Escape, plain
from routers.filters import KEY_MARK, ZONE, holds_access_key, join, link, ordinal, phone, truncate
from routers.hours import time_zone
from routers.leases import Delivery
from routers.messages import Amend, Chapter, First, Message, Text
from routers.outbox import SPEAKS_OF_BOTH
from routers.rules.answers import LOOKED_UP, LOOKUP
from routers.sandbox import (
    RESERVED_MARK,
    Compiled,
    TemplateFailed,
    View,
    compile_template,
    problems_of,
    without_half_an_entity,
)
from routers.schema import NO_ACCESS
from routers.transitions import Transition, template_name

_log = get_logger(__name__)

T = TypeVar("T")

SUFFIX = ".jinja"
_FOLDER = Path(__file__).parent / "default_templates"
_MAX_TITLE = 200
_CUT = "… cut here: the template writes too much"

# Facts for rules and templates that are not CallRail's and are never told to systems.
_RESERVED = (f"{RESERVED_MARK}before", f"{RESERVED_MARK}received", LOOKED_UP, SPEAKS_OF_BOTH)

# What a template sees beside CallRail's own fields, and what it is.
OWN_NAMES: dict[str, str] = {
    "who": "the person in one line: name, number, place, first time or returning",
    "background": "what was looked up of the person and the number called, in one line",
    "company": "the company's name in router.yaml",
    "object_type": "call, text, form, ...",
    "callrail_id": "CallRail's id of it",
    "transition": "what happened, like call.missed",
    "rule": "the id of the rule that fired",
    "occurred_at": "when it happened",
    "replayed": "whether an operator's replay sends it",
    "outcome": "how the call ended: answered, missed, abandoned, voicemail, unknown",
    "was_outcome": "how the call was thought to have ended, at call.corrected",
    "stage": "how far the call is",
    "hours": "open or closed, at that time",
    "changes": "the names of the fields that changed",
    "before": "the fields before they changed, as before.tags or before[name]",
    "fields": "the fields as they were then, by a name in brackets: fields[name]",
    "now": "the fields as they are at the time of sending: now.tags",
    "lookup": "what was looked up at CallRail, as lookup.NAME.FIELD",
    "opt_out": "whether the text says that they want no more texts",
    "contact_name": "the name found in a form",
    "contact_email": "the e-mail address found in a form",
    "contact_phone": "the number found in a form",
    "subject": "what is in trouble: a sink, a host, a company, or routing",
    "sink": "the sink that is in trouble",
    "host": "the machine whose webhooks go to its spool",
    "account": "the account at CallRail whose allowance is nearly spent",
    "allowance": "which allowance it is",
    "percent": "how much of an hour's or a day's allowance is used",
    "reason": "why nothing is sent through the sink",
    "causes": "why messages were given up, or webhooks not believed",
    "count": "how many messages or webhooks that is",
    "since": "since when there is trouble",
    "minutes": "how long the oldest has waited, or how long the trouble was",
    "trouble": "what is over, like router.sink_down",
}


BUILT_IN_NAMES = frozenset(map(template_name, Transition))

# --- reading and checking --------------------------------------------------------------------------------------------


def read_folder(path: Path) -> dict[str, str]:
    """The templates of a folder: the text of each `NAME.jinja` by its name.

    Raises:
        OSError: The folder or a file cannot be read.
        UnicodeDecodeError: A file is not UTF-8.
    """
    return {file.stem: file.read_text(encoding="utf-8") for file in sorted(path.iterdir()) if file.suffix == SUFFIX}


@cache
def _built_in() -> Mapping[str, str]:
    return read_folder(_FOLDER)


def check_templates(
    texts: Mapping[str, str],
    complain: Callable[[str, int, str, str], None],
    *,
    fields: Mapping[str, Collection[str]] | None = None,
) -> None:
    """Complain of all that is wrong with *texts*: the template's name, the line in it (from 1), the problem, a hint.

    Args:
        fields: By template, the fields it may name; for a template not in it all of CallRail's.
    """
    for name, source in texts.items():
        known = {*OWN_NAMES, *(fields or {}).get(name, FIELDS)}
        problems = problems_of(source, known)
        for line, problem, hint in problems:
            complain(name, line, problem, hint)
        if not problems:
            _try(name, source, complain)


def _try(name: str, source: str, complain: Callable[[str, int, str, str], None]) -> None:
    """Render with nothing told: a filter given too much or the wrong thing shows now and not at the first call."""
    try:
        compile_template(source, plain).write({}, {ZONE: None})
    except TemplateFailed as error:
        complain(name, error.line or 1, error.problem, "see docs/templates.md")


# --- rendering -------------------------------------------------------------------------------------------------------


class Templates:
    """The templates of an installation: its own, and the built-in ones where it has none of that name."""

    def __init__(self, own: Mapping[str, str]) -> None:
        self._texts = {**_built_in(), **own}
        self._compiled: dict[tuple[str, Escape], Compiled] = {}

    @classmethod
    def of(cls, own: Mapping[str, str]) -> Templates:
        """*own* over the built-in ones. Each is compiled when it is first rendered."""
        return cls(own)

    def render(
        self, name: str, values: Mapping[str, Any], escape: Escape = plain, *, zone: tzinfo | None = None
    ) -> Text:
        """The text that the template *name* makes of *values*, each value escaped; times in *zone*.

        Raises:
            TemplateFailed: There is no such template, it is wrong, it cannot be computed with these values, or it
                comes out empty.
        """
        rendered, is_cut = self._ready(name, escape).write(values, {ZONE: zone})
        lines = [line for written in rendered.splitlines() if (line := " ".join(written.split()))]
        if not lines:
            raise TemplateFailed("it comes out empty")
        if is_cut:
            lines.append(_CUT)
            _log.warning("template.cut", template=name)
        title = lines[0]
        if len(title) > _MAX_TITLE:
            title = without_half_an_entity(title[: _MAX_TITLE - 1]) + "…"
        return Text(title, tuple(lines[1:]))

    def _ready(self, name: str, escape: Escape) -> Compiled:
        key = (name, escape)
        ready = self._compiled.get(key)
        if ready is None:
            source = self._texts.get(name)
            if source is None:
                raise TemplateFailed(f"there is no template '{name}'")
            ready = self._compiled[key] = compile_template(source, escape)
        return ready


@cache
def built_in_templates() -> Templates:
    """The built-in templates alone."""
    return Templates.of({})


def render(
    delivery: Delivery,
    templates: Templates,
    *,
    present: Mapping[str, Any] | None = None,
    zone: tzinfo | None = None,
) -> Message:
    """The message for *delivery*: its data now, its text when a sink asks for it.

    Args:
        present: The object's fields as they are now; those of the time it happened where None.
        zone: The company's time zone; the one CallRail told where None.
    """
    facts = delivery.facts
    now = facts if present is None else present

    def told(of: Delivery, facts: Mapping[str, Any]) -> Callable[[], Mapping[str, Any]]:
        """Made when the first template asks, and once: the message's own template is followed by those of its sink."""
        return _once(partial(_values_in_zone, of, facts, present, zone))

    values = told(delivery, facts)
    return Message(
        key=delivery.id,
        transition=delivery.transition,
        company=delivery.company,
        occurred_at=delivery.occurred_at,
        data=_once(partial(_data, delivery, facts)),
        write=partial(_write, delivery, values, templates),
        object_type=delivery.object_type,
        callrail_id=delivery.callrail_id,
        links=_links(now),
        is_spam=now.get("spam") is True,
        story=tuple(
            Chapter(item.transition, item.occurred_at, partial(_write, item, told(item, item.facts), templates))
            for item in delivery.story
        ),
        first=First(delivery.amends, delivery.remote_id) if delivery.amends is not None else None,
        amend=delivery.amend or Amend.NEW,
        may_repeat=delivery.may_repeat,
        was_without_access=delivery.cause == NO_ACCESS,
        is_replayed=delivery.replay is not None,
        done=delivery.done,
        values=values,
        zone=zone or _told_zone(facts),
    )


def _once(make: Callable[[], T]) -> Callable[[], T]:
    """What *make* returns, made when it is first asked for. `functools.cache` takes ten times as long to set up."""
    made: list[T] = []

    def get() -> T:
        if not made:
            made.append(make())
        return made[0]

    return get


# What a person opens to read or listen, by the field that tells it; the first that may be shown to all.
_LINKS = {"call": ("timeline_url",), "recording": ("recording_player", "recording")}


def _links(facts: Mapping[str, Any]) -> dict[str, str]:
    found = {what: next(filter(None, (link(facts.get(name)) for name in names)), "") for what, names in _LINKS.items()}
    return {what: url for what, url in found.items() if url}


def _values_in_zone(
    delivery: Delivery, facts: Mapping[str, Any], present: Mapping[str, Any] | None, zone: tzinfo | None
) -> dict[str, Any]:
    return {**values_of(delivery, facts, present), ZONE: zone or _told_zone(facts)}


def _write(delivery: Delivery, values: Callable[[], Mapping[str, Any]], templates: Templates, escape: Escape) -> Text:
    """The text. A template that fails costs its words, never the message: the built-in one speaks instead."""
    built_in = template_name(delivery.transition)
    for source, name in ((templates, delivery.template or built_in), (built_in_templates(), built_in)):
        try:
            return source.render(name, values(), escape, zone=values()[ZONE])
        except Exception as error:
            problem = str(error) if isinstance(error, TemplateFailed) else type(error).__name__
            _log.error("template.failed", template=name, id=delivery.id, problem=problem)
    return Text(f"{delivery.transition.value} · {escape(delivery.company)}", (escape(delivery.callrail_id),))


def _told_zone(facts: Mapping[str, Any]) -> tzinfo | None:
    told = facts.get("company_time_zone")
    return time_zone(told) if isinstance(told, str) else None


def values_of(delivery: Delivery, facts: Mapping[str, Any], present: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a template sees: every field of *facts* by CallRail's name, and `OWN_NAMES`."""
    before = facts.get("$before")
    return {
        **facts,
        "who": _who(delivery.transition, facts),
        "background": _background(facts.get(LOOKUP)),
        "company": delivery.company,
        "object_type": delivery.object_type,
        "callrail_id": delivery.callrail_id,
        "transition": delivery.transition.value,
        "rule": delivery.rule,
        "occurred_at": delivery.occurred_at,
        "replayed": delivery.replay is not None,
        "before": View(before if isinstance(before, dict) else {}),
        "fields": View(facts),
        "now": View(facts if present is None else present),
    }


def _who(transition: Transition, facts: Mapping[str, Any]) -> str:
    """The person in one line: name, number or address, place, first time or returning."""
    get = facts.get
    field = _THEIR_NUMBER.get(transition, "customer_phone_number")
    number = phone(get(field) or get("contact_phone"))
    address, times = None, ""
    match transition.partition(".")[0]:
        case "call" | "outbound":
            number = number or ("number withheld" if field in facts else "number unknown")
            times = _times(get("first_call"), get("total_calls"), "call")
        case "form":
            address = get("contact_email")
            times = _times(get("first_form"), None, "form")
    place = join([get("customer_city"), get("customer_state")])
    name = get("customer_name") or get("contact_name")
    return join([*(truncate(part, 80) for part in (name, number, address, place)), times], " · ")


def _background(answers: object) -> str:
    """What was looked up of the person and the number called, in one line; empty where nothing was."""
    if not answers or not isinstance(answers, Mapping):
        return ""
    lead, calls, tracker = (_dict(answers.get(name)) for name in ("lead_timeline", "previous_calls", "tracker"))
    so_far, earlier = lead.get("total_interactions"), calls.get("count")
    parts = [
        f"{so_far} contacts so far" if isinstance(so_far, int) and so_far > 1 else "",
        _named("came first by ", lead.get("source"), lead.get("campaign")),
        f"{calls.get('missed')} of {earlier} earlier calls missed" if earlier and calls.get("missed") else "",
        _named("campaign ", tracker.get("campaign_name")) or _named("number ", tracker.get("name")),
    ]
    return join(parts, " · ")


def _dict(told: object) -> Mapping[str, Any]:
    return told if isinstance(told, Mapping) else {}


def _named(what: str, *names: object) -> str:
    told = join([truncate(name, 60) for name in names if isinstance(name, str)])
    return f"{what}{told}" if told else ""


def _times(is_first: object, total: object, noun: str) -> str:
    if is_first is True or total == 1:
        return f"first {noun}"
    return ordinal(total, noun) or ("returning" if is_first is False else "")


_THEIR_NUMBER = {Transition.TEXT_RECEIVED: "source_number", Transition.TEXT_SENT: "destination_number"}


# --- for systems -----------------------------------------------------------------------------------------------------


def _data(delivery: Delivery, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Whose news it is, and its fields. A link with an access key leaves only where it is asked for."""
    data: dict[str, Any] = {
        "company": delivery.company,
        "object": {"type": delivery.object_type, "id": delivery.callrail_id},
        "rule": delivery.rule,
        "fields": _open(facts),
    }
    before = facts.get("$before")
    if isinstance(before, dict):
        data["before"] = _open(before)
    answers = data["fields"].pop(LOOKUP, None)
    if isinstance(answers, dict):
        data["lookup"] = {name: _open(answer) for name, answer in answers.items() if isinstance(answer, dict)}
    if delivery.replay is not None:
        data["replayed"] = True
    return data


def _open(fields: Mapping[str, Any]) -> dict[str, Any]:
    fields = {
        name: value
        for name, value in fields.items()
        if not (KEY_MARK in value if value.__class__ is str else holds_access_key(value))
    }
    for name in _RESERVED:
        fields.pop(name, None)
    return fields
