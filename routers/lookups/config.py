"""`lookups:` of `router.yaml`: other settings for built-in look-ups, and look-ups of one's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from callrail.fields import FIELDS, FieldType
from routers.blocks import Block, SomeTime
from routers.escapes import plain
from routers.filters import ZONE
from routers.lookups.built_in import BUILT_IN
from routers.lookups.definitions import Facts, Lookup, OnFailure, Settings, answer_fields
from routers.rules.fields import did_you_mean
from routers.sandbox import TemplateFailed, compile_template, problems_of

if TYPE_CHECKING:
    from typing import Self

    from callrail.operation import Operation

Complain = Callable[..., None]  # (place below the look-up, problem, hint, key=)

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_PATH = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


class AnswerFieldConfig(Block):
    """A field of an answer that is no text."""

    path: str
    """Where it stands in the answer, like companies.0.name."""
    type: FieldType = FieldType.TEXT
    """What it is: text, boolean, integer, number, list, time or phone."""


class LookupConfig(Block):
    """A look-up: settings for a built-in one, or with `get` one of your own."""

    get: str | None = None
    """The operation of CallRail's API, like users.get; any that only reads."""
    with_: Annotated[dict[str, str | tuple[str, ...]], Field(alias="with", default_factory=dict)]
    """What it is called with; texts may name fields: {user_id: "{{ agent_id }}"}."""
    fields: Annotated[dict[str, str | AnswerFieldConfig], Field(default_factory=dict)]
    """What rules and templates see of the answer: a name, and the path it stands under, like companies.0.name."""
    ttl: SomeTime | None = None
    """How long an answer holds, like 5m."""
    negative_ttl: SomeTime | None = None
    """How long it holds that CallRail knows nothing, like 1m."""
    deadline: SomeTime | None = None
    """How long one try may take, like 3s."""
    on_failure: OnFailure | None = None
    """What becomes of a message whose look-up fails: send_without, wait, or drop."""
    wait: SomeTime | None = None
    """How long it is tried again with on_failure: wait, like 15m; then it is sent without."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.get is None and (self.with_ or self.fields):
            raise ValueError("'with' and 'fields' are of a look-up of your own: write get: too")
        if self.get is not None and not self.fields:
            raise ValueError("'fields' is missing: which of the answer's fields rules and templates see")
        return self

    def own_fields(self) -> Iterator[tuple[str, AnswerFieldConfig]]:
        """The fields by name, those written as a path alone as text."""
        for name, written in self.fields.items():
            yield name, AnswerFieldConfig(path=written) if isinstance(written, str) else written

    def settings(self, own: Settings) -> Settings:
        """*own* with what is written here."""
        names = ("ttl", "negative_ttl", "deadline", "on_failure", "wait")
        return replace(own, **{name: value for name in names if (value := getattr(self, name)) is not None})


LONGEST_DEADLINE = timedelta(seconds=30)


def compile_lookup(name: str, config: LookupConfig, complain: Complain) -> Lookup | None:
    """The look-up that *config* means; None, and a complaint, if it means none."""
    if not _NAME.fullmatch(name):
        complain((), f"'{name}' cannot be named in a rule", "use small letters, digits and _", key=True)
        return None
    if config.deadline is not None and config.deadline > LONGEST_DEADLINE:
        complain(("deadline",), "a look-up may take 30s at most", "with on_failure: wait it is tried again")
    built_in = BUILT_IN.get(name)
    if config.get is None:
        if built_in is None:
            hint = did_you_mean(name, BUILT_IN) or "for one of your own write get: OPERATION and fields:"
            complain((), f"there is no look-up '{name}'", hint, key=True)
            return None
        return replace(built_in, settings=config.settings(built_in.settings))
    if built_in is not None:
        complain((), f"'{name}' is a built-in look-up", "give yours another name", key=True)
        return None
    operation = _operation(config.get, complain)
    return None if operation is None else _own(name, config, operation, complain)


def _operation(written: str, complain: Complain) -> Operation | None:
    from callrail.client import resources  # slow to load, and few files have look-ups of their own

    known = {
        operation.name: operation
        for resource in resources().values()
        for operation in resource.operations.values()
        if not operation.writes
    }
    if written not in known:
        hint = did_you_mean(written, known) or "docs/reference/api.md lists them; it must be a GET"
        complain(("get",), f"'{written}' is no operation that reads", hint)
    return known.get(written)


def _own(name: str, config: LookupConfig, operation: Operation, complain: Complain) -> Lookup | None:
    problems = list(_problems(config, operation))
    for at, problem, hint in problems:
        complain(at, problem, hint)
    if problems:
        return None
    needs = {need for _, text in _texts(config) for need in compile_template(text, plain).names}
    fields = ((field, each.type, "", each.path) for field, each in config.own_fields())
    return Lookup(
        name,
        operation.name,
        operation.purpose,
        tuple(sorted(needs)),
        _templated(config.with_, needs),
        answer_fields(*fields),
        config.settings(Settings()),
    )


def _texts(config: LookupConfig) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for parameter, written in config.with_.items():
        if isinstance(written, str):
            yield ("with", parameter), written
        else:
            yield from ((("with", parameter, place), text) for place, text in enumerate(written))


def _problems(config: LookupConfig, operation: Operation) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    for parameter in config.with_:
        if parameter not in operation.parameters:
            hint = did_you_mean(parameter, operation.parameters) or f"it takes {', '.join(operation.parameters)}"
            yield ("with", parameter), f"{operation.name} takes no '{parameter}'", hint
    for parameter, known in operation.parameters.items():
        if known.is_required and parameter not in config.with_:
            yield ("get",), f"{operation.name} needs '{parameter}'", f"write with: {{{parameter}: ...}}"
    for at, text in _texts(config):
        for problem in problems_of(text, FIELDS):
            yield at, problem.problem, problem.hint
    for field, each in config.own_fields():
        if not _NAME.fullmatch(field):
            yield ("fields", field), f"'{field}' cannot be named in a rule", "use small letters, digits and _"
        if not _PATH.fullmatch(each.path):
            yield ("fields", field), "this is no path in an answer", "write names with dots, like companies.0.name"


def _templated(
    written: Mapping[str, str | tuple[str, ...]], needs: set[str]
) -> Callable[[Facts, date], Mapping[str, Any] | None]:
    def filled(text: str, facts: Facts) -> str:
        return compile_template(text, plain).write(facts, {ZONE: None})[0].strip()

    def arguments(facts: Facts, _today: date) -> Mapping[str, Any] | None:
        if any(facts.get(need) in (None, "") for need in needs):
            return None
        try:
            return {
                name: filled(text, facts) if isinstance(text, str) else [filled(each, facts) for each in text]
                for name, text in written.items()
            }
        except TemplateFailed:
            return None

    return arguments
