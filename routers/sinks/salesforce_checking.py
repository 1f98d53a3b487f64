"""What `sinks test` proves of an org without writing to it, and what a person has to set up there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from callrail.answer import Answer
from routers.sinks.salesforce_answers import json_of, outcome_of_answer
from routers.sinks.salesforce_deals import DEAL
from routers.sinks.salesforce_people import CONTACT, KEY, LEAD
from routers.sinks.salesforce_session import Session
from routers.sinks.salesforce_tasks import TASK
from routers.sinks.sink import Check

_FULL = 0.9  # of the org's allowance


@dataclass(frozen=True, slots=True)
class Needed:
    """What the user of the app needs of one kind of objects.

    Attributes:
        creates: Whether it creates some.
        read, written: The fields it reads, and those it writes.
        more: Those that the settings name, which it does both with.
    """

    kind: str
    creates: bool
    read: tuple[str, ...]
    written: tuple[str, ...]
    more: tuple[str, ...] = ()


_ALWAYS = (
    Needed(
        CONTACT,
        creates=False,
        read=("FirstName", "LastName", "Email", "Phone", "MobilePhone", "HomePhone", "OtherPhone", KEY),
        written=("Email", "Phone", KEY),
    ),
    Needed(
        LEAD,
        creates=True,
        read=("FirstName", "LastName", "Email", "Phone", "MobilePhone", "IsConverted", "ConvertedContactId", KEY),
        written=("FirstName", "LastName", "Company", "Email", "Phone", KEY),
    ),
    Needed(
        TASK,
        creates=True,
        read=("WhoId", "Subject", "Description", KEY),
        written=(
            *("WhoId", "Subject", "Description", "Status", "Priority", "ActivityDate"),
            *("CallType", "CallDurationInSeconds", "CallDisposition", KEY),
        ),
    ),
)
_DEALS = Needed(
    DEAL,
    creates=True,
    read=("IsClosed", "Amount", KEY),
    written=("Name", "StageName", "CloseDate", "Amount", KEY),
)
_SEEN_AS = {TASK: "Activity"}  # where a field of tasks is made


def needed(more: Mapping[str, Iterable[str]], *, opens: bool) -> list[Needed]:
    """What is needed with the settings' *more* fields by kind, and with opportunities if it *opens* some."""
    always = [replace(each, more=tuple(more.get(each.kind, ()))) for each in _ALWAYS]
    return [*always, _DEALS] if opens else always


async def check_org(session: Session, all_needed: Sequence[Needed]) -> list[Check]:
    """Whether there is a session, the rights to each kind of objects, our field, and room in the allowance."""
    checks: list[Check] = []
    for needed in all_needed:
        answer = await session.ask("GET", f"/sobjects/{needed.kind}/describe")
        if not isinstance(answer, Answer):
            return [*checks, Check("Salesforce gives the app a session", ok=False, remedy=answer.reason)]
        if not checks:
            checks.append(Check("Salesforce gives the app a session", ok=answer.status != 401, remedy=_REFUSED))
        if answer.status == 401:
            return checks
        told = json_of(answer.body)
        if answer.status == 404:
            remedy = f"let the app's user {_access(needed)}, and look at api_version"
            checks.append(Check(f"the app's user sees {needed.kind}", ok=False, remedy=remedy))
        elif answer.status != 200 or not isinstance(told, dict):
            remedy = outcome_of_answer(answer, now=datetime.now(UTC)).reason
            checks.append(Check(f"Salesforce describes {needed.kind}", ok=False, remedy=remedy))
        else:
            checks += _of_kind(needed, told)
    return [*checks, *_of_allowance(session)]


_REFUSED = "the session is refused at once; look at the app's policies and its user's access to the API"


def _access(needed: Needed) -> str:
    return f"read, create and edit {needed.kind}" if needed.creates else f"read and edit {needed.kind}"


def _of_kind(needed: Needed, told: Mapping[str, Any]) -> Iterator[Check]:
    fields = {field["name"]: field for field in _fields(told)}
    is_allowed = told.get("updateable") is True and (told.get("createable") is True or not needed.creates)
    remedy = f"let the app's user {_access(needed)}"
    yield Check(f"the app's user may do what it has to with {needed.kind}", ok=is_allowed, remedy=remedy)
    unseen = [name for name in dict.fromkeys((*needed.read, *needed.written, *needed.more)) if name not in fields]
    if KEY in unseen:
        yield Check(f"{needed.kind} has the field {KEY}", ok=False, remedy=_make(needed.kind))
    elif needed.kind == TASK and fields[KEY].get("externalId") is not True:
        said = f"{needed.kind}.{KEY} is no external id: tasks are looked up by it before they are made"
        yield Check(said, ok=True)
    else:
        is_right = fields[KEY].get("externalId") is True
        is_right = is_right and (fields[KEY].get("unique") is True or needed.kind == TASK)
        yield Check(f"{needed.kind}.{KEY} is an external id", ok=is_right, remedy=_make(needed.kind))
    others = [name for name in unseen if name != KEY]
    fixed = [
        name
        for name in (*needed.written, *needed.more)
        if name in fields and fields[name].get("updateable") is not True
    ]
    remedy = "; ".join(
        [
            *([f"make {', '.join(others)}, or let the app's user see what is there"] if others else []),
            *([f"let the app's user edit {', '.join(fixed)}"] if fixed else []),
        ]
    )
    yield Check(f"the app's user sees and edits the fields of {needed.kind}", ok=not remedy, remedy=remedy)


def _fields(told: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    found = told.get("fields")
    for field in found if isinstance(found, list) else ():
        if isinstance(field, dict) and isinstance(field.get("name"), str):
            yield field


def _of_allowance(session: Session) -> Iterator[Check]:
    if (usage := session.usage) is not None:
        what = (
            f"{usage.used:,} of the org's {usage.allowed:,} requests of the last 24 hours are used, by all who ask it"
        )
        remedy = "look who asks so much; at the end of the allowance everything waits"
        yield Check(what, ok=usage.used < usage.allowed * _FULL, remedy=remedy)


def _make(kind: str) -> str:
    of_activities = " (on Activity, which tasks have their fields of)" if kind == TASK else ""
    unique = "" if kind == TASK else ", unique (in any case of letters)"
    return (
        f"make the field {KEY} of {_SEEN_AS.get(kind, kind)}{of_activities}: text of 255, external id{unique}, "
        "and let the app's user see and edit it"
    )


# --- what a person does ----------------------------------------------------------------------------------------------


def steps(base_url: str, all_needed: Sequence[Needed], *, by_signature: bool) -> list[str]:
    """What an administrator does once. None of it is done here: who may make fields may do far more than log calls."""
    setup = f"{base_url}/lightning/setup"
    flow = "JWT Bearer Flow, with the certificate of private_key" if by_signature else "Client Credentials Flow"
    run_as = "pre-authorised by a permission set" if by_signature else "as Run As"
    further = [f"{name} of {_SEEN_AS.get(each.kind, each.kind)}" for each in all_needed for name in each.more]
    return [
        *(f"{setup}/ObjectManager/{_SEEN_AS.get(each.kind, each.kind)}: {_make(each.kind)}" for each in all_needed),
        *([f"see that there are the fields {', '.join(further)}"] if further else []),
        f"{setup}/PermSets: a permission set with API Enabled; {'; '.join(map(_rights, all_needed))}",
        f"{setup}/ManageUsers: a user for the router, with that permission set, who sees the contacts and leads",
        f"{setup}/ManageExternalClientApplication: an app with the scope api and the {flow}; that user {run_as}",
    ]


def _rights(needed: Needed) -> str:
    only_read = [name for name in needed.read if name not in needed.written]
    read = f" read {', '.join(only_read)};" if only_read else ""
    return f"{_access(needed)}:{read} edit {', '.join((*needed.written, *needed.more))}"
