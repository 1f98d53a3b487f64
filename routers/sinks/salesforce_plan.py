"""What has to be known before a thing is logged, and what is to be written then: decided without a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from routers.sinks.crm import Known, Lead, Of
from routers.sinks.salesforce_answers import UNREADABLE, WRONG_VALUE, Refusal
from routers.sinks.salesforce_deals import DEAL, Deal, SeenDeal, deals, new_deal, worth
from routers.sinks.salesforce_people import (
    CONTACT,
    KEY,
    LEAD,
    Found,
    Told,
    by_id,
    by_key,
    by_number,
    gaps,
    key_of,
    new_lead,
)
from routers.sinks.salesforce_requests import Question, Write
from routers.sinks.salesforce_tasks import (
    TASK,
    Activity,
    changes,
    digest,
    digest_of,
    is_as_written,
    new_task,
    task_by_id,
    task_by_key,
)

# What is remembered, by words of Salesforce's.
PERSON, ACTIVITY, OPENED = "person", "task", "opportunity"
_ALLOW = {"Sforce-Duplicate-Rule-Header": "allowSave=true"}
_THEIRS = "-"  # a digest of no words


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be there in the end.

    Attributes:
        deal: The opportunity that it opens, if it is a contact's; None for none.
        ruled: Ids of the records that a duplicate rule has found instead of a new lead.
        again: Why another look was taken: refusals that it may explain. What is refused so once more is refused for
            another reason.
        only_changes: Whether nothing is made where there is no task of it yet, as of spam.
        left_out: The fields that Salesforce did not take, with its word.
    """

    activity: Activity
    told: Told = field(default_factory=Told)
    deal: Deal | None = None
    creates_leads: bool = True
    allows_duplicates: bool = False
    ruled: tuple[str, ...] = ()
    again: frozenset[str] = frozenset()
    only_changes: bool = False
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is before anything is written.

    Attributes:
        task: The task's fields; None where there is none yet.
        written: The digests of words that are ours: those that we wrote last, and those of writes of which nobody knows
            the end; None if none is known.
        opens: Whether the deal may be opened, if there is none: when the thing is logged, and until that is done.
    """

    found: Found
    task: Mapping[str, Any] | None = None
    written: str | None = None
    deal: SeenDeal = field(default_factory=SeenDeal)
    opens: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """What is remembered before the look."""

    person: Known | None = None
    task: Known | None = None
    deal: Known | None = None


def questions(lead: Lead | None, kept: Kept, wanted: Wanted) -> list[Question]:
    """What has to be known before anything is written."""
    activity, more = wanted.activity, tuple(wanted.activity.more)
    about_task = task_by_id(kept.task.remote_id, more) if kept.task is not None else task_by_key(activity.key, more)
    asked = [Question(ACTIVITY, "queryAll", about_task)]
    if wanted.deal is not None:
        known = kept.deal.remote_id if kept.deal is not None else None
        asked.append(Question(OPENED, "queryAll", deals(wanted.deal.key, known)))
    if kept.person is not None:
        return [*asked, Question(PERSON, "queryAll", by_id(kept.person.remote_id))]
    if lead is None or key_of(lead) is None:
        return asked
    people = {"contacts": CONTACT, "leads": LEAD}
    asked += [Question(name, "query", by_key(kind, lead, wanted.ruled)) for name, kind in people.items()]
    number = by_number(lead)
    return [*asked, Question("search", "search", number)] if number is not None else asked


def writes_of(lead: Lead | None, wanted: Wanted, seen: Seen, *, upserts_tasks: bool) -> list[Write]:
    """What is to be written, so that all is there as *wanted*; nothing where it is."""
    writes = _of_person(lead, wanted, seen) if lead is not None else []
    person = seen.found.person
    who = "@{lead.id}" if any(each.name == "lead" for each in writes) else person.id if person is not None else None
    if wanted.deal is not None and person is not None and person.kind == CONTACT:
        writes += _of_deal(wanted.deal, seen, person.id)
    if seen.task is not None:
        changed = changes(seen.task, wanted.activity, written=seen.written, who=who)
        return [*writes, _to(ACTIVITY, TASK, seen.task["Id"], changed)] if changed else writes
    task = {**new_task(wanted.activity), **({"WhoId": who} if who is not None else {})}
    if upserts_tasks:
        return [*writes, Write(ACTIVITY, "PATCH", _by_key(TASK, wanted.activity.key), task)]
    return [*writes, Write(ACTIVITY, "POST", f"/sobjects/{TASK}", {**task, KEY: wanted.activity.key})]


def _of_person(lead: Lead, wanted: Wanted, seen: Seen) -> list[Write]:
    person, key = seen.found.person, key_of(lead)
    if person is not None:
        missing = gaps(person, lead, wanted.told)
        return [_to("gaps", person.kind, person.id, missing)] if missing else []
    if key is None or not wanted.creates_leads or wanted.only_changes:
        return []
    path, headers = _by_key(LEAD, f"{key}{seen.found.suffix}"), _ALLOW if wanted.allows_duplicates else {}
    return [Write("lead", "PATCH", path, new_lead(lead, wanted.told), headers)]


def _of_deal(deal: Deal, seen: Seen, contact_id: str) -> list[Write]:
    if filled := worth(deal, seen.deal):
        return [_to("worth", DEAL, str((seen.deal.own or {})["Id"]), filled)]
    if seen.deal.own is not None or seen.deal.is_open or not seen.opens:
        return []
    return [Write(OPENED, "PATCH", _by_key(DEAL, deal.key), new_deal(deal, contact_id))]


def created_by(writes: list[Write], seen: Seen) -> list[tuple[str, Of]]:
    """What *writes* make, as it is remembered."""
    of = {"lead": (PERSON, Of.LEAD), OPENED: (OPENED, Of.LEAD)}
    if seen.task is None:
        of[ACTIVITY] = (ACTIVITY, Of.THING)
    return [of[each.name] for each in writes if each.name in of]


def written_meanwhile(writes: list[Write], activity: Activity, seen: Seen) -> str | None:
    """The digests to keep before *writes* change the words of a task: if the answer is lost, both may stand there."""
    changed = next((each.body for each in writes if each.name == ACTIVITY), {})
    if seen.task is None or not {"Subject", "Description"} & changed.keys():
        return None
    return f"{digest(seen.task.get('Subject'), seen.task.get('Description'))} {digest_of(activity)}"


def written_after(activity: Activity, seen: Seen) -> str:
    """The digest to be kept: that of our words, or one that fits no words where somebody has put others there."""
    if seen.task is None or is_as_written(seen.task, seen.written):
        return digest_of(activity)
    return seen.written or _THEIRS


def _by_key(kind: str, key: str) -> str:
    return f"/sobjects/{kind}/{KEY}/{quote(key, safe='')}"


def _to(name: str, kind: str, record_id: str, body: Mapping[str, Any]) -> Write:
    return Write(name, "PATCH", f"/sobjects/{kind}/{record_id}", body)


def without_references(more: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """*more* where a refusal names no field, but somebody's id; None if there is none among it but the owner's."""
    owner = {name: value for name, value in more.items() if name == "OwnerId"}
    return owner if len(owner) < len(more) else None


def fewer(more: Mapping[str, Any], refusal: Refusal) -> Mapping[str, Any] | None:
    """*more* without the fields that were refused for their values; None where the refusal is about others.

    An owner is not left out: somebody is to have it, and a wrong one is for a person to mend.
    """
    if refusal.code not in WRONG_VALUE or not more or "OwnerId" in refusal.fields:
        return None
    if refusal.code == UNREADABLE:  # it names no field
        return {}
    fewer = {name: value for name, value in more.items() if name not in refusal.fields}
    return fewer if len(fewer) < len(more) else None
