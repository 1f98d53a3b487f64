"""`type: callrail`: does something in CallRail itself, by any operation of its API that writes: a tag, a note, a text.

What the API can tell first is asked first: what is so already is not written again, so that neither a repeat nor a rule
that hears of its own doing goes on for ever. What costs money or rings a phone is never repeated by itself.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from callrail.answer import Answer
from callrail.exceptions import (
    AnswerError,
    AnswerLost,
    BudgetSpent,
    CallRailError,
    Forbidden,
    InvalidRequest,
    NotFound,
    NotSent,
    RateLimited,
    ServerFault,
    Unauthorized,
    UnexpectedAnswer,
)
from callrail.parameter import WAY_OUT, Parameter, Place, kinds_in, wrong
from receiver.exceptions import DatabaseUnavailable
from receiver.positioned_yaml import Loc
from routers.audience import Audience
from routers.echo import APPEND, BEFORE, TAGS, Written, is_same, names_of
from routers.escapes import plain
from routers.messages import Message
from routers.outcomes import (
    Delivered,
    Outcome,
    Postponed,
    Rejected,
    Retry,
    Uncertain,
    excerpt_of,
    outcome_of_error,
)
from routers.retries import PAUSE
from routers.rules.fields import did_you_mean
from routers.sandbox import TemplateFailed
from routers.schema import NO_ACCESS
from routers.sinks.config import SinkConfig
from routers.sinks.filling import OWN_NAMES, Values, compiled, filled, is_template, texts_in
from routers.sinks.sink import Check
from routers.uncertain import OnUncertain

if TYPE_CHECKING:
    from callrail.client import CallRail
    from callrail.operation import Operation

# Ids that need not be written where the message is about such a thing, by the parameter that takes it.
OF_THE_THING = {"call_id": "call", "form_id": "form"}
# CallRail may show a thing a little later than its webhook tells of it.
_MAY_COME = timedelta(hours=1)
_BUSY = timedelta(minutes=1)
_SO_MANY_ARE_THE_KEY = 3  # refusals in a row, and not what was asked
_MAY_HAVE_ARRIVED = (AnswerLost, ServerFault, UnexpectedAnswer)
_NO_DATABASE = "the database does not answer"


@dataclass(frozen=True, slots=True)
class Acting:
    """By what a sink acts.

    *client_of* a company, or of an account by its name. *keep* what is about to be written to a call of a company, and
    *take_back* by its id what was not written after all.
    """

    client_of: Callable[[str, str | None], CallRail | None]
    keep: Callable[[str, str, Written], Awaitable[str]]
    take_back: Callable[[str], Awaitable[None]]


def operations() -> dict[str, Operation]:
    """The operations that write, by name; of a resource of their own each, like `calls.update`."""
    from callrail.client import resources  # slow to load, and few files have such a sink

    return {
        operation.name: operation
        for resource in resources().values()
        for operation in resource.operations.values()
        if operation.writes
    }


# --- settings --------------------------------------------------------------------------------------------------------


class CallRailConfig(SinkConfig):
    """Does something in CallRail, by its API."""

    type: Literal["callrail"]
    """What sort of sink it is."""
    do: str
    """The operation of CallRail's API, like calls.update; any that writes."""
    with_: Annotated[dict[str, Any], Field(alias="with")] = Field(default={})
    """What it is called with; texts may be templates: {tags: [missed], append_tags: true, note: "{{ title }}"}."""
    account: str | None = None
    """The account, by its name under accounts:; the company's own if not written."""
    audience: Audience = Audience.SYSTEMS
    """Who is at the other end: systems, unless told otherwise."""
    on_uncertain: OnUncertain = OnUncertain.HOLD
    """What follows a send whose answer was lost: retry where a thing is changed, hold where one is made or it costs."""

    @field_validator("do")
    @classmethod
    def _writes(cls, written: str) -> str:
        if written not in operations():
            hint = did_you_mean(written, operations()) or "docs/reference/api.md lists them"
            raise ValueError(f"'{written}' is no operation that writes; {hint}")
        return written

    @field_validator("with_")
    @classmethod
    def _fits(cls, written: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        operation = operations().get(info.data.get("do", ""))
        if operation is None:
            return written
        for name, value in written.items():
            if problem := _problem_of(operation, name, value):
                raise ValueError(problem)
        return written

    @model_validator(mode="before")
    @classmethod
    def _retry_what_may_be_repeated(cls, written: object) -> object:
        if isinstance(written, dict) and "on_uncertain" not in written and isinstance(written.get("do"), str):
            operation, given = operations().get(written["do"]), written.get("with")
            if operation is not None and _is_repeatable(operation, given if isinstance(given, Mapping) else {}):
                return {**written, "on_uncertain": OnUncertain.RETRY}
        return written

    @model_validator(mode="after")
    def _is_whole(self) -> CallRailConfig:
        operation = self.operation
        for parameter in operation.parameters.values():
            if parameter.is_required and parameter.name not in self.with_ and parameter.name not in OF_THE_THING:
                raise ValueError(f"{operation.name} needs {parameter.name}: write with: {{{parameter.name}: ...}}")
        if operation.verb == "update" and not _changes(operation, self.with_):
            raise ValueError(f"nothing is to be written: name under with: what {operation.name} is to change")
        try:
            operation.checked(self.with_, unknown={name for name in self.with_ if any(texts_in((), self.with_[name]))})
        except InvalidRequest as error:
            raise ValueError(str(error).removesuffix(WAY_OUT)) from None
        if self.on_uncertain is OnUncertain.RETRY and not _is_repeatable(operation, self.with_):
            raise ValueError(f"{operation.name} done twice is two: on_uncertain is hold or repeat")
        return self

    @property
    def operation(self) -> Operation:
        """What it does."""
        return operations()[self.do]

    @property
    def about(self) -> str | None:
        """The sort of thing that every message must be about, as its id is not written; None where it is."""
        return next((sort for name, sort in OF_THE_THING.items() if _lacks(self.operation, name, self.with_)), None)

    def written_templates(self) -> Iterator[tuple[Loc, str]]:
        yield from texts_in(("with",), self.with_)

    def names_in_templates(self) -> frozenset[str]:
        return frozenset(OWN_NAMES)

    def build(self, acting: Acting | None = None) -> CallRailSink:
        """The sink; without *acting* one that can only be looked at."""
        return CallRailSink(self, compiled(self.with_, plain, has_references=False), acting)


def _lacks(operation: Operation, name: str, given: Mapping[str, Any]) -> bool:
    return name in operation.parameters and name not in given


def _is_repeatable(operation: Operation, given: Mapping[str, Any]) -> bool:
    return operation.method != "POST" and not operation.dangers_of(given)


def _problem_of(operation: Operation, name: str, value: Any) -> str | None:
    """What is wrong with calling *operation* with *value* for *name*; a template may be anything."""
    parameter = operation.parameters.get(name)
    if parameter is None:
        hint = did_you_mean(name, operation.parameters) or f"it takes {', '.join(operation.parameters)}"
        return f"{operation.name} takes no '{name}'; {hint}"
    if Path in kinds_in(parameter.kind):
        return f"{name} is a file of this machine, which a message cannot hold"
    if any(texts_in((), value)):
        return _problem_of_template(parameter, value)
    try:
        parameter.check.validate_python(value)
    except ValidationError as error:
        return f"{name} {_wrong(parameter, value, error)}"
    return None


def _problem_of_template(parameter: Parameter, value: Any) -> str | None:
    """What is wrong with templates in *value*, whatever they will write."""
    if True in kinds_in(parameter.kind):
        return f"{parameter.name} takes true, and no template: a rule's if: says when"
    if is_template(value):
        taken = "a list" if parameter.is_many else "an object" if parameter.is_object else ""
        return f"{parameter.name} takes {taken}, and is one template" if taken else None
    if not (parameter.is_many or parameter.is_object):
        return f"{parameter.name} takes one text"
    return None


def _wrong(parameter: Parameter, value: Any, error: ValidationError) -> str:
    return wrong(parameter, value, error).removesuffix(WAY_OUT)


# --- doing it --------------------------------------------------------------------------------------------------------


class CallRailSink:
    """Calls one operation for each message."""

    def __init__(self, config: CallRailConfig, arguments: Mapping[str, Any], acting: Acting | None) -> None:
        self._config = config
        self._operation = config.operation
        self._arguments = arguments
        self._acting = acting
        self._refusals: dict[tuple[CallRail, str], _Refusal] = {}

    async def deliver(self, message: Message) -> Outcome:
        """Do it once, or nothing where it is so already."""
        acting = self._acting
        client = acting.client_of(message.company, self._config.account) if acting is not None else None
        if acting is None or client is None:
            return _without_access("the company's account at CallRail has no key here")
        if message.was_without_access and (rests := self._rests(client, message.company)) is not None:
            return rests
        try:
            given = self._given(message)
        except TemplateFailed as error:
            return Rejected(f"a template of the sink cannot be written: {error}")
        if isinstance(given, Rejected):
            return given
        if self._operation.verb == "update" and not _changes(self._operation, given):
            return Delivered("there was nothing to write")
        outcome = await self._do(acting, client, given, message)
        if not (isinstance(outcome, Postponed) and outcome.needs_somebody):
            self._refusals.pop((client, message.company), None)
        return outcome

    async def _do(self, acting: Acting, client: CallRail, given: Mapping[str, Any], message: Message) -> Outcome:
        try:
            told = await self._told(client, given)
            if told is not None and self._is_so(told, given):
                return Delivered("it was so already")
            kept = await self._keep(acting, given, told, message)
        except DatabaseUnavailable:
            return Retry(_NO_DATABASE, is_ours=True)
        except CallRailError as error:  # nothing was written
            return self._outcome_of(error, client, given, message, is_repeatable=True)
        is_repeatable = _is_repeatable(self._operation, given)
        try:
            made = await self._call(client, self._operation.verb, given)
        except DatabaseUnavailable:  # which counts the allowance before the request, and learns of it after
            return Retry(_NO_DATABASE, is_ours=True) if is_repeatable else Uncertain(_NO_DATABASE)
        except CallRailError as error:
            if kept is not None and not isinstance(error, _MAY_HAVE_ARRIVED):
                with contextlib.suppress(DatabaseUnavailable):  # what looks like its echo is then told to nobody
                    await acting.take_back(kept)
            return self._outcome_of(error, client, given, message, is_repeatable=is_repeatable)
        found = getattr(made, "id", None)
        return Delivered("done", remote_id=str(found) if found else None)

    async def _keep(
        self, acting: Acting, given: Mapping[str, Any], told: Mapping[str, Any] | None, message: Message
    ) -> str | None:
        """Keep what is about to be written, for its echo; its id, None where CallRail tells of no such change."""
        if self._operation.name != "calls.update":
            return None
        written = {name: value for name, value in given.items() if name != "call_id"}
        if TAGS in given and told is not None and TAGS in told:
            written[BEFORE] = sorted(names_of(told[TAGS]))
        return await acting.keep(message.company, str(given["call_id"]), written)

    async def _call(self, client: CallRail, verb: str, given: Mapping[str, Any]) -> Any:
        resource = getattr(client, self._operation.resource)
        return await getattr(resource, verb)(**given, deadline=self._config.timeout)

    def _given(self, message: Message) -> dict[str, Any] | Rejected:
        """What it is called with. What a template leaves empty is not written, lest it clears what stands there.

        Raises:
            TemplateFailed: A template cannot be computed with the message's values.
        """
        values = Values(message)
        given = _without_empty(filled(self._arguments, values), self._config.with_)
        for name, sort in OF_THE_THING.items():
            if _lacks(self._operation, name, given):
                if message.object_type != sort or not message.callrail_id:
                    return Rejected(f"{self._operation.name} needs {name}, and this tells of no {sort}")
                given[name] = message.callrail_id
        missing = [each.name for each in self._operation.parameters.values() if each.is_required]
        if lost := [name for name in missing if name not in given]:
            return Rejected(f"CallRail did not tell what is needed for {', '.join(lost)}")
        return self._typed(given)

    def _typed(self, given: Mapping[str, Any]) -> dict[str, Any] | Rejected:
        """*given* as what the operation takes: a template writes texts, also for numbers and for true and false."""
        typed = {}
        for name, value in given.items():
            parameter = self._operation.parameters[name]
            try:
                typed[name] = parameter.check.validate_python(value)
            except ValidationError as error:
                return Rejected(f"it cannot be sent: {name} {_wrong(parameter, value, error)}")
        return typed

    async def _told(self, client: CallRail, given: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What the API tells of what is to be written to; None where it cannot be asked."""
        get = type(getattr(client, self._operation.resource)).operations.get("get")
        path = _path_of(self._operation)
        if self._operation.verb != "update" or get is None or not path <= get.parameters.keys():
            return None
        asked: dict[str, Any] = {name: given[name] for name in path}
        if "fields" in get.parameters and (more := given.keys() & set(get.parameters["fields"].choices)):
            asked["fields"] = sorted(more)
        try:
            told: Mapping[str, Any] = (await self._call(client, "get", asked)).told
        except NotFound:
            if get.undocumented:  # which proves nothing of the thing
                return None
            raise
        return told

    def _is_so(self, told: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
        adds = bool(given.get(APPEND))
        wanted = _changes(self._operation, given)
        return all(name in told and _is_told(told[name], name, value, adds=adds) for name, value in wanted.items())

    def _rests(self, client: CallRail, company: str) -> Postponed | None:
        """Why the company's account is left alone for a while; None if it is asked.

        What was refused is not asked again and again, or it would use up the allowance. Others are asked: it may be
        what was refused that may not be, and not the key.
        """
        refusal = self._refusals.get((client, company))
        left = refusal.holds_until - time.monotonic() if refusal is not None else 0
        if refusal is None or refusal.in_a_row < _SO_MANY_ARE_THE_KEY or left <= 0:
            return None
        return _without_access(refusal.said, timedelta(seconds=left))

    def _refused(self, client: CallRail, company: str, said: str) -> Postponed:
        now, before = time.monotonic(), self._refusals.get((client, company))
        in_a_row = before.in_a_row + 1 if before is not None and before.holds_until > now else 1
        self._refusals[client, company] = _Refusal(said, in_a_row, now + PAUSE.total_seconds())
        return _without_access(said)

    def _outcome_of(
        self,
        error: CallRailError,
        client: CallRail,
        given: Mapping[str, Any],
        message: Message,
        *,
        is_repeatable: bool,
    ) -> Outcome:
        said = _said(error, given, message)
        match error:
            case Unauthorized() | Forbidden():
                return self._refused(client, message.company, f"{said}; {error.remedy}")
            case BudgetSpent():
                wait = error.free_at - datetime.now(UTC)
                return Postponed("the account's allowance is used up", max(wait, timedelta(seconds=1)))
            case RateLimited():
                return Postponed(said, _BUSY)
            case InvalidRequest():
                return Rejected(f"it cannot be sent: {error}")
            case NotFound() if message.occurred_at > datetime.now(UTC) - _MAY_COME:
                return Retry(f"{said}; CallRail may show it later")
            case NotSent():
                return outcome_of_error(error)
            case AnswerLost():
                return Retry(str(error)) if is_repeatable else Uncertain(str(error))
            case UnexpectedAnswer() if error.status < 300:
                return Delivered(f"HTTP {error.status}, with an answer that cannot be read")
            case ServerFault() | UnexpectedAnswer():
                return Retry(said) if is_repeatable else Uncertain(said)
            case _:
                return Rejected(said)

    async def check(self) -> Sequence[Check]:
        return [Check(f"{self._operation.name} is known and its settings fit", ok=True)]

    async def aclose(self) -> None:
        """Nothing of its own is open: the clients belong to whoever serves."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """That the account of a company has refused us, and how often in a row; it counts until *holds_until*, on our own
    clock."""

    said: str
    in_a_row: int
    holds_until: float


def _without_access(said: str, after: timedelta = PAUSE) -> Postponed:
    return Postponed(f"{NO_ACCESS}: {said}", after, needs_somebody=True)


def _path_of(operation: Operation) -> set[str]:
    return {each.name for each in operation.parameters.values() if each.place is Place.PATH}


def _changes(operation: Operation, given: Mapping[str, Any]) -> dict[str, Any]:
    """What of *given* is to be so afterwards."""
    return {name: value for name, value in given.items() if name not in (*_path_of(operation), APPEND)}


def _without_empty(value: Any, written: Any) -> Any:
    """*value*, filled from *written*, without what came out empty of templates."""
    if isinstance(written, Mapping):
        parts = {name: _without_empty(value[name], part) for name, part in written.items()}
        return {name: part for name, part in parts.items() if not _came_out_empty(part, written[name])}
    if isinstance(written, list):
        each = [_without_empty(*pair) for pair in zip(value, written, strict=True)]
        return [part for part, was in zip(each, written, strict=True) if not _came_out_empty(part, was)]
    return value


def _came_out_empty(value: Any, written: Any) -> bool:
    return value in ("", [], {}) and any(texts_in((), written))


def _is_told(told: Any, name: str, wanted: Any, *, adds: bool) -> bool:
    if name == TAGS:
        return names_of(wanted) <= names_of(told) if adds else names_of(wanted) == names_of(told)
    return is_same(name, wanted, told)


def _said(error: CallRailError, given: Mapping[str, Any], message: Message) -> str:
    """What CallRail said, without what was sent."""
    if not isinstance(error, AnswerError):
        return type(error).__name__
    said = excerpt_of(Answer(error.status, {}, (error.said or "").encode()), told=(dict(given), message.data()))
    return f"HTTP {error.status}" + (f": {said}" if said else "")
