"""An operation of the API: declared once, as the Python function that calls it.

The function's signature and docstring are the declaration; the decorator adds method and path. From these follow the
request and its checks, the shell's command and the reference's row. The function's body is empty.

A parameter that stands in the path goes there; the others are the query of a GET and the body of what writes. A default
of None means "not given"; in a body, where None clears a value, it is `UNSET` that means so.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from enum import Enum, StrEnum
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    NamedTuple,
    TypedDict,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)
from urllib.parse import parse_qsl, quote, urlencode

from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import is_typeddict

from callrail.exceptions import InvalidRequest

if TYPE_CHECKING:
    from callrail.client import CallRail

Function = TypeVar("Function", bound=Callable[..., Any])
# What is wrong with arguments that belong together, as a sentence; None if nothing is.
Rule = Callable[[Mapping[str, Any]], "str | None"]


class _Unset(Enum):
    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"


# Typed as anything, so that a signature shows the type of what may be given: `note: str | None = UNSET`.
UNSET: Any = _Unset.UNSET


class Options(TypedDict, total=False):
    """What every operation takes beside its own parameters; see `OPTION_HELPS`."""

    extra_params: Mapping[str, Any]
    deadline: timedelta


class ListOptions(Options, total=False):
    """What every list takes beside its filters."""

    per_page: int


class WriteOptions(Options, total=False):
    """What every operation that changes something takes beside its own parameters."""

    dry_run: bool


OPTION_HELPS = {
    "extra_params": "Parameters that this version does not know, sent as they are.",
    "deadline": "How long it may take, repetitions and waiting included (a list: one page).",
    "per_page": "Rows a request, 250 at most; the same rows are listed in any case.",
    "dry_run": "Check everything and send nothing; the answer's `planned` is the request that would have been sent.",
}


class Danger(StrEnum):
    """What cannot be taken back. Such a request is never repeated by itself; the shell asks first."""

    RINGS = "rings a phone"
    TEXTS = "sends a text to a person"
    MAILS = "sends an e-mail to a person"
    COSTS = "costs money"
    DELETES = "deletes or switches off"


class Budget(StrEnum):
    """The allowances of an account, each by hour and by day (documented)."""

    GENERAL = "requests"
    TEXTS = "texts"
    CALLS = "outbound calls"


class Place(StrEnum):
    """Where a parameter stands in the request."""

    PATH = "path"
    QUERY = "query"
    BODY = "body"


class Named(NamedTuple):
    """CallRail's name of a parameter, where it is not one of Python's: `Annotated[str, Named("form_URL")]`."""

    name: str


Day = date | datetime | str


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation.

    *name* is Python's, *official* CallRail's. *choices* are the values allowed, empty where any is. *is_object*: it is
    written in JSON; *keys* are those it has, empty where any is.
    """

    name: str
    official: str
    place: Place
    kind: Any
    is_required: bool
    default: Any
    help: str
    choices: tuple[str, ...]
    is_many: bool
    is_object: bool
    keys: tuple[str, ...]
    check: TypeAdapter[Any] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Request:
    """A request before it is sent. Holds no key.

    *path* begins at the host. *files* go beside *body* in a form. *remedies* says what to do about an answer's status,
    where more is known than the status says.
    """

    operation: str
    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: Mapping[str, Any] | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    budget: Budget = Budget.GENERAL
    is_repeatable: bool = True
    remedies: Mapping[int, str] = field(default_factory=dict)

    @property
    def target(self) -> str:
        """Path and query as they are sent."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path

    def with_query(self, **changed: str) -> Request:
        """The same request with some of its query another."""
        kept = tuple(pair for pair in self.query if pair[0] not in changed)
        return replace(self, query=kept + tuple(changed.items()))

    def at(self, target: str) -> Request:
        """The same request to another path, which brings its own query."""
        return replace(self, path=target, query=())


class Operation:
    """What the decorators make of a function."""

    def __init__(
        self,
        function: Callable[..., Any],
        method: str,
        path: str,
        *,
        rows: str = "",
        is_relative: bool = False,
        is_dated: bool = False,
        budget: Budget = Budget.GENERAL,
        dangers: Sequence[Danger] = (),
        undocumented: str = "",
        remedies: Mapping[int, str] | None = None,
        rule: Rule | None = None,
    ) -> None:
        self.function = function
        self.method = method
        self.path = path
        self.rows = rows
        self.is_relative = is_relative
        self.is_dated = is_dated
        self.budget = budget
        self.dangers = tuple(dangers)
        self.undocumented = undocumented
        self.remedies = remedies or {}
        self.rule = rule
        self.verb = function.__name__
        self.resource = ""  # told by the class the function stands in

    @property
    def name(self) -> str:
        """As Python calls it, `calls.list`."""
        return f"{self.resource}.{self.verb}"

    @property
    def is_account_bound(self) -> bool:
        """Whether it is sent under the client's account, and not one that is a parameter of its own."""
        return "{account_id}" in self.full_path and "account_id" not in self.parameters

    @property
    def writes(self) -> bool:
        """Whether it changes something at CallRail."""
        return self.method != "GET"

    @property
    def full_path(self) -> str:
        """The path from the host on, with its placeholders."""
        return self.path if self.path.startswith("/") else f"/v3/a/{{account_id}}/{self.path}"

    @functools.cached_property
    def purpose(self) -> str:
        """The first sentence of its docstring."""
        return inspect.cleandoc(self.function.__doc__ or "").partition("\n")[0]

    @functools.cached_property
    def parameters(self) -> dict[str, Parameter]:
        """Its own parameters by name, without options."""
        return {parameter.name: parameter for parameter in _parameters(self)}

    @functools.cached_property
    def options(self) -> dict[str, str]:
        """Its options (`dry_run`, ...), each with its help."""
        hints = get_type_hints(self.function)
        taken = next(hints[name] for name, each in self._signature.parameters.items() if each.kind is each.VAR_KEYWORD)
        return {name: OPTION_HELPS[name] for name in get_type_hints(get_args(taken)[0])}

    @functools.cached_property
    def answer(self) -> Any:
        """The model of its answer; of one row, for a list."""
        told = get_type_hints(self.function)["return"]
        return get_args(told)[0] if self.rows else told

    @functools.cached_property
    def answer_adapter(self) -> TypeAdapter[Any]:
        """Reads its answer; all rows of a page at once, for a list."""
        answer = self.answer
        return TypeAdapter(list[answer] if self.rows else answer)  # type: ignore[valid-type]  # a type known when run

    @functools.cached_property
    def _signature(self) -> inspect.Signature:
        return inspect.signature(self.function)

    def given(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by name, without those that are not given.

        Raises:
            InvalidRequest: One is unknown or missing.
        """
        known = [name for name in self.parameters if self.parameters[name].place is Place.PATH]
        if len(args) > len(known):
            raise InvalidRequest(f"{self.name} takes {len(known)} arguments without a name, not {len(args)}")
        given = dict(zip(known, args, strict=False)) | dict(kwargs)
        for name in given:
            if name not in self.parameters and name not in self.options:
                raise InvalidRequest(self._unknown(name))
        for name, parameter in self.parameters.items():
            if parameter.is_required and name not in given:
                raise InvalidRequest(f"{self.name} needs {name}: {parameter.help.replace('``', '')}")
        return {
            name: value
            for name, value in given.items()
            if name in self.options or value is not self.parameters[name].default
        }

    def _unknown(self, name: str) -> str:
        near = get_close_matches(name, [*self.parameters, *self.options], n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        return (
            f"{self.name} has no parameter {name}{meant} "
            f"(CallRail would ignore it without a word; extra_params={{{name!r}: ...}} sends it all the same)"
        )

    def request(self, given: Mapping[str, Any], account_id: str) -> Request:
        """The request that *given*, as of `given()`, asks for.

        Raises:
            InvalidRequest: A value is not one CallRail knows.
        """
        path: dict[str, str] = {"account_id": quote(account_id, safe="")}
        query: list[tuple[str, str]] = []
        body: dict[str, Any] = {}
        files: dict[str, Path] = {}
        values = {name: self._checked(each, given[name]) for name, each in self.parameters.items() if name in given}
        extra = given.get("extra_params") or {}
        if not extra:  # which may hold what seems to be missing
            self._require_rule(values)
        for name, value in values.items():
            parameter = self.parameters[name]
            if parameter.place is Place.PATH:
                path[name] = quote(str(value), safe="")
            elif parameter.place is Place.QUERY:
                query += _in_query(parameter, value)
            elif isinstance(value, Path):
                files[parameter.official] = value
            else:
                body[parameter.official] = value
        if self.writes:
            body |= extra
        else:
            query += [pair for name, value in extra.items() for pair in _pairs(name, value)]
        return Request(
            operation=self.name,
            method=self.method,
            path=self.full_path.format_map(path),
            query=tuple(query),
            body=body if self.method in ("POST", "PUT") else None,
            files=files,
            budget=self.budget,
            is_repeatable=self.method != "POST" and not self.dangers,
            remedies=self.remedies,
        )

    def _require_rule(self, values: Mapping[str, Any]) -> None:
        broken = self.rule(values) if self.rule is not None else None
        if broken is None and "order" in values and "sort" not in values:
            broken = "order needs sort: CallRail ignores it otherwise"
        if broken is not None:
            raise InvalidRequest(f"{self.name}: {broken}")

    def _checked(self, parameter: Parameter, value: Any) -> Any:
        if parameter.place is Place.PATH and (value is None or str(value).strip() in ("", ".", "..")):
            raise InvalidRequest(f"{self.name}: {parameter.name} is empty or no id")
        try:
            return parameter.check.validate_python(value)
        except ValidationError as error:
            raise InvalidRequest(f"{self.name}: {parameter.name} {_wrong(parameter, value, error)}") from None


_API_PATH = re.compile(r"/v3/[!-~]+")


def raw_request(method: str, path: str, *, params: Mapping[str, Any] | None, json: Any) -> Request:
    """A request that no operation describes.

    Raises:
        InvalidRequest: *path* is none of the API's, or *method* none of HTTP's that CallRail takes.
    """
    method = method.upper()
    if method not in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        raise InvalidRequest(f"the method is {method!r}, but CallRail takes GET, POST, PUT and DELETE")
    if not _API_PATH.fullmatch(path):
        raise InvalidRequest("the path must begin with /v3/ and hold no blanks, such as /v3/a/{account_id}/tags.json")
    told, _, query = path.partition("?")
    return Request(
        operation=told,
        method=method,
        path=told,
        query=(
            *parse_qsl(query, keep_blank_values=True),
            *(p for n, v in (params or {}).items() for p in _pairs(n, v)),
        ),
        body=json,
        budget=_RAW_BUDGETS.get((method, told.rpartition("/")[2]), Budget.GENERAL),
        is_repeatable=method in ("GET", "PUT"),
    )


_RAW_BUDGETS = {("POST", "text-messages.json"): Budget.TEXTS, ("POST", "calls.json"): Budget.CALLS}


def _wrong(parameter: Parameter, value: Any, error: ValidationError) -> str:
    told = value if not isinstance(value, Sequence) or isinstance(value, str) else [str(each) for each in value]
    if parameter.choices:
        near = get_close_matches(str(value), parameter.choices, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        allowed = ", ".join(parameter.choices)
        return f"is {told!r}, but CallRail knows {allowed}{meant} (extra_params sends others)"
    if parameter.is_many and isinstance(value, str):
        return f"is {told!r}, but takes a list"
    return _wrong_within(parameter, error) if isinstance(value, Mapping) else f"is {told!r}: {_first(error)['msg']}"


def _first(error: ValidationError) -> Any:
    return error.errors(include_url=False, include_input=False)[0]


def _wrong_within(parameter: Parameter, error: ValidationError) -> str:
    """What is wrong within an object, with the place in it."""
    types = {kind.__name__ for kind in kinds_in(parameter.kind) if is_typeddict(kind)}
    first = _first(error)
    loc = [part for part in first["loc"] if part not in types]
    if first["type"] == "extra_forbidden":
        near = get_close_matches(str(loc[-1]), _keys_within(parameter.kind), n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        return f"has no key {'.'.join(map(str, loc))}{meant} (extra_params sends it all the same)"
    return f"at {'.'.join(map(str, loc))}: {first['msg']}"


def kinds_in(kind: Any) -> set[Any]:
    """All plain types that *kind* is made of, those of an object's keys too."""
    if is_typeddict(kind):
        return {kind}.union(*map(kinds_in, get_type_hints(kind).values()))
    parts = get_args(kind)
    return {get_origin(kind)}.union(*map(kinds_in, parts)) if parts else {kind}


def _keys_within(kind: Any) -> list[str]:
    return [key for each in kinds_in(kind) if is_typeddict(each) for key in each.__annotations__]


def _in_query(parameter: Parameter, value: Any) -> list[tuple[str, str]]:
    if parameter.official == "fields":
        return [(parameter.official, ",".join(map(str, value)))] if value else []
    return _pairs(parameter.official, value)


def _pairs(name: str, value: Any) -> list[tuple[str, str]]:
    """`tags[]=A&tags[]=B` for several values, as CallRail reads them."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        array = name if name.endswith("[]") else f"{name}[]"
        return [(array, _text(each)) for each in value]
    return [(name, _text(value))]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, date) else str(value)


# --- reading the declaration -----------------------------------------------------------------------------------------

_IN_PATH = re.compile(r"{(\w+)}")


def _parameters(operation: Operation) -> list[Parameter]:
    hints = get_type_hints(operation.function, include_extras=True)
    helps = argument_helps(operation.function.__doc__ or "")
    in_path = _IN_PATH.findall(operation.full_path)
    found = []
    for name, told in operation._signature.parameters.items():
        if name == "self" or told.kind is told.VAR_KEYWORD:
            continue
        kind = hints[name]
        place = Place.PATH if name in in_path else Place.BODY if operation.writes else Place.QUERY
        found.append(
            Parameter(
                name=name,
                official=next(
                    (each.name for each in getattr(kind, "__metadata__", ()) if isinstance(each, Named)), name
                ),
                place=place,
                kind=kind,
                is_required=told.default is told.empty,
                default=told.default,
                help=helps.get(name, ""),
                choices=_choices(kind),
                is_many=_is_many(kind),
                is_object=_is_object(kind),
                keys=_keys(kind),
                check=TypeAdapter(kind, config=None if _has_config(kind) else _CHECKS),
            )
        )
    return found


# An id may be given as a number: CallRail's are of both sorts.
_CHECKS = ConfigDict(coerce_numbers_to_str=True, arbitrary_types_allowed=True)


def _has_config(kind: Any) -> bool:
    return hasattr(kind, "__pydantic_config__")


def _is_object(kind: Any) -> bool:
    return is_typeddict(kind) or get_origin(kind) is Mapping or any(map(_is_object, get_args(kind)))


def _keys(kind: Any) -> tuple[str, ...]:
    if is_typeddict(kind):
        return tuple(kind.__annotations__)
    return () if get_origin(kind) is Mapping else tuple(key for part in get_args(kind) for key in _keys(part))


def _choices(kind: Any) -> tuple[str, ...]:
    if _is_object(kind):
        return ()
    if get_origin(kind) is Literal:
        return tuple(str(value) for value in get_args(kind))
    return tuple(choice for part in get_args(kind) for choice in _choices(part) if not isinstance(part, str))


def _is_many(kind: Any) -> bool:
    if _is_object(kind):
        return False
    origin = get_origin(kind)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return True
    return origin is not Literal and any(_is_many(part) for part in get_args(kind))


_ARGUMENT = re.compile(r"    (\w+): ?(.*)")


def argument_helps(docstring: str) -> dict[str, str]:
    """What the `Args:` section of *docstring* says of each argument."""
    helps: dict[str, str] = {}
    name = None
    section = inspect.cleandoc(docstring).partition("\nArgs:\n")[2]
    for line in section.splitlines():
        if line and not line.startswith("    "):
            break
        if begins := _ARGUMENT.fullmatch(line):
            name, helps[begins[1]] = begins[1], begins[2]
        elif name and line.strip():
            helps[name] += " " + line.strip()
    return helps


# --- declaring -------------------------------------------------------------------------------------------------------


class Resource:
    """The operations of one sort of thing, `client.calls` for example."""

    operations: Mapping[str, Operation] = {}

    def __init_subclass__(cls, *, named: str) -> None:
        found = [each.operation for each in vars(cls).values() if hasattr(each, "operation")]
        for operation in found:
            operation.resource = named
        cls.operations = {operation.verb: operation for operation in found}

    def __init__(self, client: CallRail) -> None:
        self._client = client


def operation(
    method: Literal["GET", "POST", "PUT", "DELETE"],
    path: str,
    *,
    dangers: Sequence[Danger] = (),
    is_dated: bool = False,
    budget: Budget = Budget.GENERAL,
    undocumented: str = "",
    remedies: Mapping[int, str] | None = None,
    rule: Rule | None = None,
) -> Callable[[Function], Function]:
    """Declare an operation with one answer.

    Args:
        path: Below `/v3/a/{account_id}/`, or from the host on; holds parameters' names in braces.
        is_dated: Without a date, CallRail answers for the last seven days only; refused unless the caller says so.
        undocumented: Where the operation was seen, if CallRail does not document it.
        remedies: What to do about an answer's status, where more is known than the status says.
        rule: What arguments that belong together have to be.
    """

    def declare(function: Function) -> Function:
        declared = Operation(
            function,
            method,
            path,
            dangers=dangers,
            is_dated=is_dated,
            budget=budget,
            undocumented=undocumented,
            remedies=remedies,
            rule=rule,
        )

        @functools.wraps(function)
        async def call(self: Resource, *args: Any, **kwargs: Any) -> Any:
            return await self._client._call(declared, declared.given(args, kwargs))

        call.operation = declared  # type: ignore[attr-defined]  # a function may hold attributes; its type may not
        return call  # type: ignore[return-value]  # the same signature, by functools.wraps

    return declare


def listing(
    path: str, rows: str, *, is_dated: bool = False, is_relative: bool = False, rule: Rule | None = None
) -> Callable[[Function], Function]:
    """Declare an operation that lists.

    Args:
        path: As for `operation`.
        rows: The key of the answer under which the rows stand.
        is_dated: As for `operation`.
        is_relative: Whether it takes relative paging (documented for calls only).
        rule: As for `operation`.
    """

    def declare(function: Function) -> Function:
        declared = Operation(function, "GET", path, rows=rows, is_dated=is_dated, is_relative=is_relative, rule=rule)

        @functools.wraps(function)
        def call(self: Resource, *args: Any, **kwargs: Any) -> Any:
            return self._client._list(declared, declared.given(args, kwargs))

        call.operation = declared  # type: ignore[attr-defined]  # as above
        return call  # type: ignore[return-value]  # as above

    return declare
