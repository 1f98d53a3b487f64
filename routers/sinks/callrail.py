"""`type: callrail`: does something in CallRail itself, by any operation of its API that writes: a tag, a note, a text.

What the API can tell first is asked first: what is so already is not written again, so that neither a repeat nor a rule
that hears of its own doing goes on for ever. What costs money or rings a phone is never repeated by itself.
"""

from __future__ import annotations

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
from callrail.parameter import Place, kinds_in, wrong
from receiver.exceptions import DatabaseUnavailable
from receiver.positioned_yaml import Loc
from routers.audience import Audience
from routers.echo import Written, is_same, names_of
from routers.escapes import plain
from routers.messages import Message
from routers.outcomes import (
    AuthFailed,
    Delivered,
    Outcome,
    Rejected,
    Retry,
    Uncertain,
    excerpt_of,
    outcome_of_error,
)
from routers.rules.fields import did_you_mean
from routers.sandbox import TemplateFailed
from routers.sinks.config import SinkConfig
from routers.sinks.filling import OWN_NAMES, Values, compiled, filled, texts_in
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
_NO_DATABASE = "the database does not answer"


@dataclass(frozen=True, slots=True)
class Acting:
    """By what a sink acts: *client_of* a company, or of an account by its name; *keep* what is about to be written to a
    call of a company."""

    client_of: Callable[[str, str | None], CallRail | None]
    keep: Callable[[str, str, Written], Awaitable[None]]


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
        return CallRailSink(self, compiled(self.with_, plain), acting)


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
        return None
    try:
        parameter.check.validate_python(value)
    except ValidationError as error:
        return f"{name} {wrong(parameter, value, error)}"
    return None


# --- doing it --------------------------------------------------------------------------------------------------------


class CallRailSink:
    """Calls one operation for each message."""

    def __init__(self, config: CallRailConfig, arguments: Mapping[str, Any], acting: Acting | None) -> None:
        self._config = config
        self._operation = config.operation
        self._arguments = arguments
        self._acting = acting

    async def deliver(self, message: Message) -> Outcome:
        """Do it once, or nothing where it is so already."""
        acting = self._acting
        client = acting.client_of(message.company, self._config.account) if acting is not None else None
        if acting is None or client is None:
            return Rejected("the company's account at CallRail has no key here")
        try:
            given = self._given(message)
        except TemplateFailed as error:
            return Rejected(f"a template of the sink cannot be written: {error}")
        if isinstance(given, Rejected):
            return given
        try:
            if await self._is_so(client, given):
                return Delivered("it was so already")
            await self._keep(acting, given, message)
        except DatabaseUnavailable:
            return Retry(_NO_DATABASE, is_ours=True)
        except CallRailError as error:  # nothing was written
            return self._outcome_of(error, given, message, is_repeatable=True)
        is_repeatable = _is_repeatable(self._operation, given)
        try:
            told = await self._call(client, self._operation.verb, given)
        except DatabaseUnavailable:  # which counts the allowance before the request, and learns of it after
            return Retry(_NO_DATABASE, is_ours=True) if is_repeatable else Uncertain(_NO_DATABASE)
        except CallRailError as error:
            return self._outcome_of(error, given, message, is_repeatable=is_repeatable)
        found = getattr(told, "id", None)
        return Delivered("done", remote_id=str(found) if found else None)

    async def _keep(self, acting: Acting, given: Mapping[str, Any], message: Message) -> None:
        """Keep what is about to be written, for its echo."""
        if self._operation.name == "calls.update":
            written = {name: value for name, value in given.items() if name != "call_id"}
            await acting.keep(message.company, str(given["call_id"]), written)

    async def _call(self, client: CallRail, verb: str, given: Mapping[str, Any]) -> Any:
        resource = getattr(client, self._operation.resource)
        return await getattr(resource, verb)(**given, deadline=self._config.timeout)

    def _given(self, message: Message) -> dict[str, Any] | Rejected:
        """What it is called with. What a template leaves empty is not written, lest it clears what stands there.

        Raises:
            TemplateFailed: A template cannot be computed with the message's values.
        """
        values = Values(message)
        given = {}
        for name, laid_out in self._arguments.items():
            value = _without_empty(filled(laid_out, values))
            if value not in ("", [], {}) or not any(texts_in((), self._config.with_[name])):
                given[name] = value
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
                return Rejected(f"it cannot be sent: {name} {wrong(parameter, value, error)}")
        return typed

    async def _is_so(self, client: CallRail, given: Mapping[str, Any]) -> bool:
        """Whether the API tells already what is to be written; False where it cannot be asked."""
        get = type(getattr(client, self._operation.resource)).operations.get("get")
        path = [each.name for each in self._operation.parameters.values() if each.place is Place.PATH]
        if self._operation.verb != "update" or get is None or not set(path) <= get.parameters.keys():
            return False
        wanted = {name: value for name, value in given.items() if name not in (*path, "append_tags")}
        asked: dict[str, Any] = {name: given[name] for name in path}
        if "fields" in get.parameters and (more := wanted.keys() & set(get.parameters["fields"].choices)):
            asked["fields"] = sorted(more)
        try:
            told = (await self._call(client, "get", asked)).told
        except NotFound:
            if get.undocumented:  # which proves nothing of the thing
                return False
            raise
        adds = bool(given.get("append_tags"))
        return all(name in told and _is_told(told[name], name, value, adds=adds) for name, value in wanted.items())

    def _outcome_of(
        self, error: CallRailError, given: Mapping[str, Any], message: Message, *, is_repeatable: bool
    ) -> Outcome:
        said = _said(error, given, message)
        match error:
            case Unauthorized() | Forbidden():
                return AuthFailed(f"{said}; {error.remedy}")
            case BudgetSpent():
                wait = error.free_at - datetime.now(UTC)
                return Retry("the account's allowance is used up", max(wait, timedelta(0)), whole_lane=True)
            case RateLimited():
                return Retry(said, _BUSY, whole_lane=True)
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
        what = f"{self._operation.name} is known and its settings fit; `accounts test` says whether the key may write"
        return [Check(what, ok=True)]

    async def aclose(self) -> None:
        """Nothing of its own is open: the clients belong to whoever serves."""


def _without_empty(value: Any) -> Any:
    return [item for item in value if item != ""] if isinstance(value, list) else value


def _is_told(told: Any, name: str, wanted: Any, *, adds: bool) -> bool:
    if name == "tags":
        return names_of(wanted) <= names_of(told) if adds else names_of(wanted) == names_of(told)
    return is_same(wanted, told)


def _said(error: CallRailError, given: Mapping[str, Any], message: Message) -> str:
    """What CallRail said, without what was sent."""
    if not isinstance(error, AnswerError):
        return type(error).__name__
    said = excerpt_of(Answer(error.status, {}, (error.said or "").encode()), told=(dict(given), message.data))
    return f"HTTP {error.status}" + (f": {said}" if said else "")
