"""The task that logs a call, a text or a form at Salesforce: how it is created, and what later news changes of it.

A person who works there may change the title and the text, and then they are theirs: only what we wrote last is written
anew. What the call was (its type, its length) is ours always, its result unless somebody has put another in its place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from routers.sinks.salesforce_people import KEY
from routers.sinks.salesforce_queries import cut, is_, select

TASK = "Task"
# What is read of a task, and kept up to date by us alone.
OWN = (
    *("Id", "IsDeleted", "CreatedById", "LastModifiedById", "WhoId", "Subject", "Description"),
    *("CallType", "CallDurationInSeconds", "CallDisposition", KEY),
)
_SUBJECT, _DESCRIPTION = 255, 32_000  # documented, in characters


@dataclass(frozen=True, slots=True)
class Activity:
    """What there is to log.

    Attributes:
        key: CallRail's id of the thing.
        title, text: For people, whole and not yet cut.
        on: The day, where the company is.
        direction: `Inbound` or `Outbound`; None for what is no call.
        duration: In seconds; None if that was not told.
        result: How it ended, in a word of ours; None for what is no call.
        owner: Id of the user who is to have it, once it is created.
        more: Fields that the settings name, with their values.
        with_subtype: Whether a call is told as one by the task's subtype: until the org does not take it.
    """

    key: str
    title: str
    text: str
    on: date
    direction: str | None = None
    duration: int | None = None
    result: str | None = None
    owner: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    with_subtype: bool = True


def task_by_id(task_id: str, more: tuple[str, ...] = ()) -> str:
    """The query for a task that we know, whatever has become of it."""
    return select((*OWN, *more), TASK, is_("Id", task_id))


def task_by_key(key: str, more: tuple[str, ...] = ()) -> str:
    """The query for the task of a thing."""
    return select((*OWN, *more), TASK, is_(KEY, key))


def new_task(activity: Activity) -> dict[str, Any]:
    """What a task is created with; whose it is and its key stand elsewhere."""
    kept = {"Status": "Completed", "Priority": "Normal", "ActivityDate": activity.on.isoformat()}
    call = {"TaskSubtype": "Call"} if activity.direction is not None and activity.with_subtype else {}
    owner = {"OwnerId": activity.owner} if activity.owner is not None else {}
    return {**kept, **call, **owner, **_words(activity), **_truth(activity)}


def changes(row: Mapping[str, Any], activity: Activity, *, written: str | None, who: str | None) -> dict[str, Any]:
    """What of the task *row* is otherwise than it should be, and may be changed.

    Args:
        written: The digests of words that are ours; None if none is known.
        who: Id of the person, for a task that has none yet.
    """
    wanted = _truth(activity)
    if row.get("CallDisposition") not in (None, "", *RESULTS):
        wanted.pop("CallDisposition", None)
    if is_as_written(row, written):
        wanted |= _words(activity)
    if who is not None and not row.get("WhoId"):
        wanted["WhoId"] = who
    held = {name.lower(): value for name, value in row.items()}  # in Salesforce's case of letters, not the settings'
    return {name: value for name, value in wanted.items() if not _is_same(held.get(name.lower()), value)}


def is_as_written(row: Mapping[str, Any], written: str | None) -> bool:
    """Whether nobody else has changed the words. Where it is not known what we wrote, whoever changed it last tells."""
    if written is not None:
        return digest(row.get("Subject"), row.get("Description")) in written.split()
    return row.get("CreatedById") == row.get("LastModifiedById")


def digest(subject: object, description: object) -> str:
    """Of the bare words, for an editor may write blanks and line breaks in its own way."""
    bare = "\0".join(" ".join(str(text or "").split()) for text in (subject, description))
    return hashlib.sha256(bare.encode()).hexdigest()[:32]


def digest_of(activity: Activity) -> str:
    """Of the words with which the task of *activity* is written."""
    words = _words(activity)
    return digest(words["Subject"], words["Description"])


def _words(activity: Activity) -> dict[str, Any]:
    return {"Subject": cut(activity.title, _SUBJECT), "Description": cut(activity.text, _DESCRIPTION)}


def _truth(activity: Activity) -> dict[str, Any]:
    call = {
        "CallType": activity.direction,
        "CallDurationInSeconds": activity.duration,
        "CallDisposition": activity.result,
    }
    return {**{name: value for name, value in call.items() if value is not None}, **activity.more}


def _is_same(held: Any, wanted: Any) -> bool:
    """Whether a field holds what it should. What a template writes is a text, whatever the field makes of it."""
    if isinstance(held, str) and isinstance(wanted, str):
        moment = _moment(held)
        return held.split() == wanted.split() or (moment is not None and moment == _moment(wanted))
    if isinstance(held, bool) and isinstance(wanted, str):
        return str(held).lower() == wanted.lower()
    if isinstance(held, int | float) and isinstance(wanted, str):
        return _number(wanted) == held
    return bool(held == wanted) or (held is None and wanted == "")


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


# How a call ended, in the words of `CallDisposition`.
RESULTS = ("Answered", "Missed", "Abandoned", "Voicemail", "Unanswered", "Spam")
