"""An operation of the API: declared once, as the Python function that calls it.

The function's signature and docstring are the declaration; the decorator adds method and path. From these follow the
request and its checks, the shell's command and the reference's row. The function's body is empty.

A parameter that stands in the path goes there; the others are the query of a GET and the body of what writes. A default
of None means "not given"; in a body, where None clears a value, it is `UNSET` that means so.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, get_args, get_type_hints
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from callrail.exceptions import InvalidRequest, UnexpectedAnswer
from callrail.parameter import Parameter, Place, parameters_of, wrong
from callrail.request import Budget, Danger, Request, pairs

if TYPE_CHECKING:
    from callrail.client import CallRail

Function = TypeVar("Function", bound=Callable[..., Any])
# Says what is wrong with arguments that belong together, as a sentence; None if nothing is. Its parameters are named
# after those it is about; one that is not given is `UNSET`.
Rule = Callable[..., "str | None"]


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


Day = date | datetime | str


_OF_PAGING = frozenset({"page", "per_page", "offset", "relative_pagination"})


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
        rules: Sequence[Rule] = (),
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
        self.rules = tuple(rules)
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
        return {each.name: each for each in parameters_of(self.function, self.full_path, writes=self.writes)}

    @functools.cached_property
    def options(self) -> dict[str, str]:
        """Its options (`dry_run`, ...), each with its help."""
        hints = get_type_hints(self.function)
        arguments = inspect.signature(self.function).parameters
        taken = next(hints[name] for name, each in arguments.items() if each.kind is each.VAR_KEYWORD)
        return {name: OPTION_HELPS[name] for name in get_type_hints(get_args(taken)[0])}

    @functools.cached_property
    def answer(self) -> Any:
        """The model of its answer; of one row, for a list."""
        told = get_type_hints(self.function)["return"]
        return get_args(told)[0] if self.rows else told

    def read(self, told: Any) -> Any:
        """Its answer from JSON; all rows of a page at once, for a list.

        Raises:
            UnexpectedAnswer: It is of another shape than documented, which a model cannot hold.
        """
        try:
            return self.answer_adapter.validate_python(told)
        except ValidationError:  # whose text repeats what was told
            said = "what it tells is of another shape than documented"
            raise UnexpectedAnswer(f"{self.method} {self.name}", 200, said) from None

    @functools.cached_property
    def answer_adapter(self) -> TypeAdapter[Any]:
        """Reads its answer; all rows of a page at once, for a list."""
        answer = self.answer
        return TypeAdapter(list[answer] if self.rows else answer)  # type: ignore[valid-type]  # a type known when run

    def dangers_of(self, given: Mapping[str, Any]) -> tuple[Danger, ...]:
        """What cannot be taken back if it is called with *given*: its own dangers, and those of parameters."""
        extra = given.get("extra_params") or {}
        told = {each: given.get(name, extra.get(each.official)) for name, each in self.parameters.items()}
        others = [danger for each, value in told.items() for danger in each.dangers_of(value)]
        return tuple(dict.fromkeys([*self.dangers, *others]))

    def given(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by name, without those that are not given.

        Raises:
            InvalidRequest: One is unknown or missing.
        """
        known = [name for name in self.parameters if self.parameters[name].place is Place.PATH]
        if len(args) > len(known):
            raise InvalidRequest(f"{self.name} takes {len(known)} arguments without a name, not {len(args)}")
        by_place = dict(zip(known, args, strict=False))
        if twice := by_place.keys() & kwargs.keys():
            raise InvalidRequest(f"{self.name}: {', '.join(sorted(twice))} is given twice")
        given = by_place | dict(kwargs)
        for name in given:
            if name not in self.parameters and name not in self.options:
                raise InvalidRequest(self._unknown(name))
        extra = given.get("extra_params") or {}
        self._check_options(extra, given.get("deadline"))
        for name, parameter in self.parameters.items():
            is_extra = parameter.place is not Place.PATH and parameter.official in extra
            if parameter.is_required and name not in given and not is_extra:
                raise InvalidRequest(f"{self.name} needs {name}: {parameter.help.replace('``', '')}")
        return {
            name: value
            for name, value in given.items()
            if name in self.options or value is not self.parameters[name].default
        }

    def _check_options(self, extra: Any, deadline: Any) -> None:
        if not isinstance(extra, Mapping):
            raise InvalidRequest(f"{self.name}: extra_params takes names and values, a mapping")
        if self.rows and (own := _OF_PAGING & extra.keys()):
            raise InvalidRequest(f"{self.name}: {', '.join(sorted(own))} is what a list asks for by itself")
        if deadline is not None and (not isinstance(deadline, timedelta) or deadline <= timedelta(0)):
            raise InvalidRequest(f"{self.name}: deadline takes a timedelta, longer than nothing")

    def _unknown(self, name: str) -> str:
        if name in OPTION_HELPS:
            return f"{self.name} takes no {name}"
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
        values = self.checked(given)
        path: dict[str, str] = {"account_id": quote(account_id, safe="{}")}
        query: list[tuple[str, str]] = []
        body: dict[str, Any] = {}
        files: dict[str, Path] = {}
        for name, value in values.items():
            parameter = self.parameters[name]
            if parameter.place is Place.PATH:
                path[name] = quote(str(value), safe="")
            elif parameter.place is Place.QUERY:
                query += parameter.in_query(value)
            elif isinstance(value, Path):
                files[parameter.official] = value
            else:
                body[parameter.official] = value
        extra = given.get("extra_params") or {}
        if self.writes:
            body |= extra
        else:
            query += [pair for name, value in extra.items() for pair in pairs(name, value)]
        request = Request(
            operation=self.name,
            method=self.method,
            path=self.full_path.format_map(path),
            query=tuple(query),
            body=body if self.method in ("POST", "PUT") else None,
            files=files,
            budget=self.budget,
            is_repeatable=self.method != "POST" and not self.dangers_of(given),
            remedies={**self.remedies, **dict(remedy for name in values for remedy in self.parameters[name].remedies)},
        )
        try:
            request.target.encode()
        except UnicodeEncodeError:
            raise InvalidRequest(f"{self.name}: a text holds half a character, which cannot be sent") from None
        return request

    def checked(self, given: Mapping[str, Any], *, unknown: AbstractSet[str] = frozenset()) -> dict[str, Any]:
        """The parameters among *given*, as of `given()`, each as it is sent. Whether any is missing is not asked.

        Args:
            unknown: Names of those that will be something else when it is called: only that they are given counts.

        Raises:
            InvalidRequest: A value is not one CallRail knows, or does not go with another one.
        """
        values = {
            name: given[name] if name in unknown else self._checked(each, given[name])
            for name, each in self.parameters.items()
            if name in given
        }
        self._require_rules(values, given.get("extra_params") or {}, unknown)
        return values

    def _require_rules(self, values: Mapping[str, Any], extra: Mapping[str, Any], unknown: AbstractSet[str]) -> None:
        """Hold *values* against the rules, but those about a parameter of which *extra* knows better."""
        for rule in (*self.rules, *self._common_rules):
            about = [self.parameters[name] for name in inspect.signature(rule).parameters]
            if any(each.official in extra for each in about):
                continue
            if not unknown.isdisjoint(each.name for each in about) and rule not in _rules_of_presence:
                continue
            if (broken := rule(**{each.name: values.get(each.name, UNSET) for each in about})) is not None:
                raise InvalidRequest(f"{self.name}: {broken}")

    @property
    def _common_rules(self) -> tuple[Rule, ...]:
        return (_order_needs_sort,) if "order" in self.parameters else ()

    def _checked(self, parameter: Parameter, value: Any) -> Any:
        if parameter.place is Place.PATH and (value is None or str(value).strip() in ("", ".", "..")):
            raise InvalidRequest(f"{self.name}: {parameter.name} is empty or no id")
        is_empty = isinstance(value, str | Sequence | AbstractSet) and not value
        if is_empty and parameter.official != "fields" and (parameter.is_required or parameter.place is Place.QUERY):
            # In a query CallRail would leave the filter out, and answer with everything.
            raise InvalidRequest(f"{self.name}: {parameter.name} is empty")
        try:
            return parameter.check.validate_python(value)
        except ValidationError as error:
            raise InvalidRequest(f"{self.name}: {parameter.name} {wrong(parameter, value, error)}") from None


_rules_of_presence: set[Rule] = set()


def of_presence(rule: Rule) -> Rule:
    """Declares that *rule* asks only which parameters are given, and not what they are."""
    _rules_of_presence.add(rule)
    return rule


@of_presence
def _order_needs_sort(sort: object, order: object) -> str | None:
    return None if order is UNSET or sort is not UNSET else "order needs sort: CallRail ignores it otherwise"


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
    rules: Sequence[Rule] = (),
) -> Callable[[Function], Function]:
    """Declare an operation with one answer.

    Args:
        path: Below `/v3/a/{account_id}/`, or from the host on; holds parameters' names in braces.
        is_dated: Without a date, CallRail answers for the last seven days only; refused unless the caller says so.
        undocumented: Where the operation was seen, if CallRail does not document it.
        remedies: What to do about an answer's status, where more is known than the status says.
        rules: What arguments that belong together have to be.
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
            rules=rules,
        )

        @functools.wraps(function)
        async def call(self: Resource, *args: Any, **kwargs: Any) -> Any:
            return await self._client._call(declared, declared.given(args, kwargs))

        call.operation = declared  # type: ignore[attr-defined]  # a function may hold attributes; its type may not
        return call  # type: ignore[return-value]  # the same signature, by functools.wraps

    return declare


def listing(
    path: str, rows: str, *, is_dated: bool = False, is_relative: bool = False, rules: Sequence[Rule] = ()
) -> Callable[[Function], Function]:
    """Declare an operation that lists.

    Args:
        path: As for `operation`.
        rows: The key of the answer under which the rows stand.
        is_dated: As for `operation`.
        is_relative: Whether it takes relative paging (documented for calls only).
        rules: As for `operation`.
    """

    def declare(function: Function) -> Function:
        declared = Operation(function, "GET", path, rows=rows, is_dated=is_dated, is_relative=is_relative, rules=rules)

        @functools.wraps(function)
        def call(self: Resource, *args: Any, **kwargs: Any) -> Any:
            return self._client._list(declared, declared.given(args, kwargs))

        call.operation = declared  # type: ignore[attr-defined]  # as above
        return call  # type: ignore[return-value]  # as above

    return declare
