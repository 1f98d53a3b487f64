"""What a message wants to be there at Salesforce: its task, in the words of now and of the whole story, and whose."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, timedelta
from typing import Any

from routers.messages import Message
from routers.outcomes import Delivered, Outcome, Rejected
from routers.sandbox import TemplateFailed
from routers.sinks.crm_reading import (
    is_outbound,
    lines_of,
    name_of,
    nothing_to_log,
    present_of,
    result_of,
    title_of,
)
from routers.sinks.filling import Values, filled
from routers.sinks.salesforce_deals import Deal
from routers.sinks.salesforce_people import NAMELESS, Told
from routers.sinks.salesforce_plan import Wanted
from routers.sinks.salesforce_tasks import Activity

# Before or after an amount. 1,250.00 is told by CallRail; 1.250,00 may be typed, and 1.250 may be either.
_CURRENCY = re.compile(r"^(?:[A-Z]{3}\b|[A-Z]{0,3}[$€£])|(?:\b[A-Z]{3}|[$€£])$")
_AMERICAN = re.compile(r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d{0,2})?")
_EUROPEAN = re.compile(r"(?:\d{1,3}(?:\.\d{3})+|\d+),\d{1,2}|\d{1,3}(?:\.\d{3}){2,}")
_MOST = 1e12


@dataclass(frozen=True, slots=True)
class Opens:
    """What opportunities are opened as."""

    stage: str
    closes_in: timedelta


@dataclass(frozen=True, slots=True)
class Mapped:
    """What the settings say of how a message becomes records.

    Attributes:
        fields: The only fields of CallRail's that are told; None for all.
        of_leads, of_tasks: Further fields of Salesforce's, as templates.
    """

    owner: str | None = None
    creates_leads: bool = True
    allows_duplicates: bool = False
    logs_spam: bool = False
    opens: Opens | None = None
    fields: tuple[str, ...] | None = None
    of_leads: Mapping[str, Any] = field(default_factory=dict)
    of_tasks: Mapping[str, Any] = field(default_factory=dict)


def wanted_of(message: Message, mapped: Mapped) -> Wanted | Outcome:
    """What *message* wants to be there; an outcome where it wants nothing."""
    if (nothing := nothing_to_log(message)) is not None:
        return Delivered(nothing)
    present = present_of(message, mapped.fields)
    try:
        values = Values(message)
        of_tasks, of_leads = (_told(filled(laid_out, values)) for laid_out in (mapped.of_tasks, mapped.of_leads))
    except TemplateFailed as error:
        return Rejected(f"a template of the sink cannot be written: {error}")
    owned = {"OwnerId": mapped.owner} if mapped.owner is not None else {}
    return Wanted(
        _activity(message, present, mapped, of_tasks),
        Told(name_of(present), {**of_leads, **owned}),
        _deal(message, present, mapped) if mapped.opens is not None else None,
        creates_leads=mapped.creates_leads,
        allows_duplicates=mapped.allows_duplicates,
        only_changes=message.is_spam and not mapped.logs_spam,
    )


def _activity(message: Message, present: Mapping[str, Any], mapped: Mapped, more: Mapping[str, Any]) -> Activity:
    is_call, duration = message.object_type == "call", present.get("duration")
    return Activity(
        message.callrail_id,
        title_of(message, present),
        "\n".join(lines_of(message, present, mapped.fields)),
        _day(message),
        ("Outbound" if is_outbound(message, present) else "Inbound") if is_call else None,
        duration if is_call and isinstance(duration, int) and not isinstance(duration, bool) else None,
        result_of(message, present),
        mapped.owner,
        more,
    )


def _day(message: Message) -> date:
    """On which day it happened, where the company's clocks are; in UTC where that is not known."""
    return message.occurred_at.astimezone(message.zone or UTC).date()


def _deal(message: Message, present: Mapping[str, Any], mapped: Mapped) -> Deal | None:
    """What an inbound thing opens."""
    if mapped.opens is None or message.is_spam or is_outbound(message, present):
        return None
    on = _day(message)
    name = f"{name_of(present) or NAMELESS}, {message.object_type} of {on.isoformat()}"
    stage, closes_on = mapped.opens.stage, on + mapped.opens.closes_in
    return Deal(message.callrail_id, name, stage, closes_on, _amount(present.get("value")), mapped.owner)


def _amount(told: object) -> float | None:
    """A value as CallRail tells it, perhaps as a text with a currency; None for none, and for what can be read in two
    ways or in none: an opportunity without an amount is better than one with a wrong one."""
    if isinstance(told, str):
        written = _CURRENCY.sub("", told.strip()).strip()
        if _AMERICAN.fullmatch(written):
            told = float(written.replace(",", ""))
        elif _EUROPEAN.fullmatch(written):
            told = float(written.replace(".", "").replace(",", "."))
    if not isinstance(told, int | float) or isinstance(told, bool):
        return None
    return float(told) if 0 < told < _MOST else None


def _told(more: Mapping[str, Any]) -> dict[str, Any]:
    """*more* without what a template left empty: that would clear what stands there."""
    return {name: value for name, value in more.items() if value != ""}
