"""Requests to a vendor and answers of our fake against the vendor's own contract, where that can be had.

The contracts belong to the vendors and are not part of this project. `CONTRACT_SPECS` names the folder that holds them,
each vendor's in a folder of its own; without that variable it is sought in `shared/specs` beside the checkout.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Protocol, Self

from jsonschema import Draft202012Validator, FormatChecker

from tests.fakes.hubspot.refusals import Answer

_BESIDE = Path(__file__).parents[3] / "shared" / "specs"
_FORMATS = FormatChecker(formats=())

Told = dict[str, Any]


@_FORMATS.checks("date-time", raises=ValueError)
def _is_a_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


def specs_folder() -> Path:
    """Where the vendors' contracts are sought."""
    return Path(os.environ.get("CONTRACT_SPECS") or _BESIDE)


class Asked(Protocol):
    """A request, read."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def query(self) -> Mapping[str, str]: ...
    @property
    def raw(self) -> bytes: ...
    @property
    def body(self) -> Any: ...
    @property
    def operation(self) -> str: ...


class Exchange(Protocol):
    """A request, and what was answered."""

    @property
    def asked(self) -> Asked: ...
    @property
    def answer(self) -> Answer | None: ...


@dataclass(frozen=True)
class Contract:
    """The operations that are written down, by method and path, each with the components that its schemas name."""

    operations: Mapping[tuple[str, str], Told]
    components: Mapping[tuple[str, str], Told]

    @classmethod
    @cache
    def load(cls, folder: Path, pattern: str = "*.openapi.json") -> Self:
        operations: dict[tuple[str, str], Told] = {}
        components: dict[tuple[str, str], Told] = {}
        for path in sorted(folder.glob(pattern)):
            document = json.loads(path.read_bytes())
            closed = {"schemas": {name: _closed(schema) for name, schema in document["components"]["schemas"].items()}}
            for template, methods in document["paths"].items():
                for method, operation in methods.items():
                    operations[method, template] = operation
                    components[method, template] = closed
        return cls(operations, components)

    @classmethod
    def if_any(cls, vendor: str, pattern: str = "*.openapi.json") -> Self | None:
        """The contract of *vendor*, or None where it cannot be had."""
        folder = specs_folder() / vendor
        return cls.load(folder, pattern) if folder.is_dir() else None

    def problems(self, exchanges: Iterable[Exchange]) -> list[str]:
        """What the contract has against them, a line each: of every request, and of every answer that was given."""
        found = []
        for number, exchange in enumerate(exchanges, 1):
            problems = self.problems_of_request(exchange.asked)
            if exchange.answer is not None:
                problems += self.problems_of_answer(exchange.asked, exchange.answer)
            found += [f"request {number}, {exchange.asked.operation}: {problem}" for problem in problems]
        return found

    def problems_of_request(self, asked: Asked) -> list[str]:
        """Of its path, its query and its body. A key that the contract does not name is a problem too."""
        key = self.key(asked)
        if key is None:
            return [f"the contract has no {asked.method} {asked.path}"]
        operation = self.operations[key]
        allowed = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "query"}
        problems = [f"no parameter {name} in the query" for name in asked.query if name not in allowed]
        if "requestBody" not in operation:
            return [*problems, *(["no body is wanted"] if asked.raw else [])]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        return problems + self.against(key, schema, asked.body)

    def problems_of_answer(self, asked: Asked, answer: Answer) -> list[str]:
        """Of its status and its body, as far as the contract says anything of it."""
        key, status = self.key(asked), str(answer.status)
        if key is None:
            return []
        answers = self.operations[key]["responses"]
        if status not in answers:
            return [f"status {status} is not in the contract"] if answer.status < 400 else []
        content = answers[status].get("content")
        if content is None:
            return []
        return self.against(key, content["application/json"]["schema"], answer.body)

    def key(self, asked: Asked) -> tuple[str, str] | None:
        """By what the operation of a request is written down."""
        return self.key_of(asked.method, asked.path)

    def key_of(self, method: str, path: str) -> tuple[str, str] | None:
        fitting = [key for key in self.operations if key[0] == method.lower() and _fits(key[1], path)]
        return min(fitting, key=lambda key: key[1].count("{"), default=None)

    def against(self, key: tuple[str, str], schema: Told, body: Any) -> list[str]:
        """What *schema* has against *body*."""
        whole = {"components": self.components[key], "allOf": [_closed(schema)]}
        errors = Draft202012Validator(whole, format_checker=_FORMATS).iter_errors(body)
        return [f"{'.'.join(map(str, error.absolute_path)) or 'body'}: {error.message}" for error in errors]


def _closed(schema: Told) -> Told:
    """The schema with no other keys than those that it names, and with null where OpenAPI 3.0 says `nullable`."""
    closed = copy.deepcopy(schema)
    for part in _parts(closed):
        if "properties" in part:
            part.setdefault("additionalProperties", False)
        if part.get("nullable") is True and isinstance(part.get("type"), str):
            part["type"] = [part["type"], "null"]
    return closed


def _parts(schema: Any) -> Iterator[Told]:
    if isinstance(schema, dict):
        if "type" in schema or "$ref" in schema:
            yield schema
        for part in schema.values():
            yield from _parts(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _parts(part)


def _fits(template: str, path: str) -> bool:
    """Whether *path* is of the kind; what varies is one step of it."""
    steps, wanted = path.split("/"), template.split("/")
    return len(steps) == len(wanted) and all(w.startswith("{") or w == s for s, w in zip(steps, wanted, strict=True))
