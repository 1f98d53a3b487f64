"""As much of SOQL and SOSL as a sink writes: conditions on fields, an order, a limit; a search among phone numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.salesforce.refusals import Refused, Told

Test = Callable[[Told], bool]
_TOKEN = re.compile(r"\s*('(?:[^'\\]|\\.)*'|[A-Za-z_][\w.]*|\d+|!=|[=(),])")
_PLACE = re.compile(r"(?P<kind>\w+)\s*\((?P<inside>(?:[^()']|'(?:[^'\\]|\\.)*'|\([^()]*\))*)\)")


@dataclass
class Query:
    """What is asked of one kind of objects."""

    kind: str
    fields: list[str]
    holds: Test = field(default=lambda _told: True)
    order: str | None = None
    limit: int = 2000
    named: set[str] = field(default_factory=set)

    def answer(self, records: list[Told]) -> list[Told]:
        found = [told for told in records if self.holds(told)]
        if self.order is not None:
            name = self.order
            found.sort(key=lambda told: str(told.get(name) or ""), reverse=True)
        return found[: self.limit]


def read_query(text: str) -> Query:
    """A query of SOQL.

    Raises:
        Refused: It is none that is known here.
    """
    found = re.fullmatch(r"SELECT (?P<fields>.+?) FROM (?P<kind>\w+)(?P<rest>.*)", text.strip(), re.DOTALL)
    if found is None:
        raise malformed(text)
    return _Reader(found["rest"], text).read(found["kind"], found["fields"])


def read_search(text: str) -> tuple[list[str], list[Query]]:
    """A search of SOSL: the numbers that it looks for, and what of each kind it wants to see."""
    found = re.fullmatch(r"FIND \{(?P<words>[^}]*)\} IN PHONE FIELDS RETURNING (?P<places>.+)", text.strip(), re.DOTALL)
    if found is None:
        raise Refused(400, "MALFORMED_SEARCH", "No search term found. The search term must be enclosed in braces.")
    queries = []
    for place in _PLACE.finditer(found["places"]):
        inside = re.fullmatch(r"(?P<fields>[\w, ]+?)(?P<rest> (?:WHERE|ORDER|LIMIT) .*)?", place["inside"], re.DOTALL)
        if inside is None:
            raise malformed(text)
        queries.append(_Reader(inside["rest"] or "", text).read(place["kind"], inside["fields"]))
    return [word.strip() for word in found["words"].split(" OR ")], queries


def malformed(text: str) -> Refused:
    return Refused(400, "MALFORMED_QUERY", f"unexpected token in {text[:40]}")


class _Reader:
    def __init__(self, rest: str, whole: str) -> None:
        self._whole = whole
        self._tokens: list[str] = []
        rest = rest.strip()
        while rest:
            found = _TOKEN.match(rest)
            if found is None:
                raise malformed(whole)
            self._tokens.append(found[1])
            rest = rest[found.end() :].strip()
        self._named: set[str] = set()

    def read(self, kind: str, fields: str) -> Query:
        query = Query(kind, [name.strip() for name in fields.split(",")])
        for name in query.fields:
            if sum(name.lower() == other.lower() for other in query.fields) > 1:  # documented
                raise Refused(400, "INVALID_FIELD", f"duplicate field selected: {name}")
        if self._takes("WHERE"):
            query.holds = self._either()
        if self._takes("ORDER"):
            self._wants("BY")
            query.order = self._next()
            self._named.add(query.order)
            self._wants("DESC")
        if self._takes("LIMIT"):
            query.limit = int(self._next())
        if self._tokens:
            raise malformed(self._whole)
        query.named = {*query.fields, *self._named}
        return query

    def _either(self) -> Test:
        tests = [self._both()]
        while self._takes("OR"):
            tests.append(self._both())
        return lambda told: any(test(told) for test in tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while self._takes("AND"):
            tests.append(self._one())
        return lambda told: all(test(told) for test in tests)

    def _one(self) -> Test:
        if self._takes("("):
            inside = self._either()
            self._wants(")")
            return inside
        name, operator = self._next(), self._next()
        self._named.add(name)
        if operator == "IN":
            wanted = self._values()
            return lambda told: same(told.get(name)) in wanted
        if operator == "LIKE":
            pattern = _pattern(self._next())
            return lambda told: pattern.fullmatch(str(told.get(name) or "")) is not None
        value = same(_value(self._next()))
        if operator == "=":
            return lambda told: same(told.get(name)) == value
        if operator == "!=":
            return lambda told: same(told.get(name)) != value
        raise malformed(self._whole)

    def _values(self) -> list[Any]:
        self._wants("(")
        values = [same(_value(self._next()))]
        while self._takes(","):
            values.append(same(_value(self._next())))
        self._wants(")")
        return values

    def _next(self) -> str:
        if not self._tokens:
            raise malformed(self._whole)
        return self._tokens.pop(0)

    def _takes(self, token: str) -> bool:
        if self._tokens and self._tokens[0].upper() == token:
            self._tokens.pop(0)
            return True
        return False

    def _wants(self, token: str) -> None:
        if not self._takes(token):
            raise malformed(self._whole)


def _pattern(token: str) -> re.Pattern[str]:
    """Where % stands for anything and _ for one character, unless a backslash is before it (documented)."""
    if not token.startswith("'"):
        raise malformed(token)
    parts = {"%": ".*", "_": "."}
    found = re.findall(r"\\?.", token[1:-1], re.DOTALL)
    return re.compile("".join(parts.get(part) or re.escape(part[-1]) for part in found), re.IGNORECASE | re.DOTALL)


def _value(token: str) -> Any:
    if token.startswith("'"):
        return re.sub(r"\\(.)", r"\1", token[1:-1])
    return {"true": True, "false": False, "null": None}.get(token.lower(), token)


def same(value: Any) -> Any:
    """Texts are compared in any case (documented)."""
    return value.lower() if isinstance(value, str) else value
