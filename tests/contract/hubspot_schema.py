"""Requests to HubSpot and answers of our fake against HubSpot's own contract.

The contract belongs to HubSpot and is not part of this project. `CONTRACT_SPECS` names the folder that holds it, as
`hubspot/*.openapi.json`; without that variable it is sought in `shared/specs` beside the checkout.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from tests.fakes.hubspot import Answer, Asked, Exchange

_BESIDE = Path(__file__).parents[3] / "shared" / "specs"
_WRITTEN_DOWN = "2026-03"
# The contract holds contacts and calls; all other kinds of objects have the same operations with the same bodies.
_AS_CALLS = re.compile(r"(?<=/crm/objects/2026-03/)(communications|tasks|leads|deals)(?=/|$)")
_FORMATS = FormatChecker(formats=())

Told = dict[str, Any]


@_FORMATS.checks("date-time", raises=ValueError)
def _is_a_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


def specs_folder() -> Path:
    """Where the vendors' contracts are sought."""
    return Path(os.environ.get("CONTRACT_SPECS") or _BESIDE)


@dataclass(frozen=True)
class Contract:
    """The operations that are written down, by method and path, each with the components that its schemas name."""

    operations: Mapping[tuple[str, str], Told]
    components: Mapping[tuple[str, str], Told]

    @classmethod
    @cache
    def load(cls, folder: Path) -> Contract:
        operations: dict[tuple[str, str], Told] = {}
        components: dict[tuple[str, str], Told] = {}
        for path in sorted(folder.glob("*.openapi.json")):
            document = json.loads(path.read_bytes())
            closed = {"schemas": {name: _closed(schema) for name, schema in document["components"]["schemas"].items()}}
            for template, methods in document["paths"].items():
                for method, operation in methods.items():
                    operations[method, template] = operation
                    components[method, template] = closed
        return cls(operations, components)

    def problems(self, exchanges: Iterable[Exchange]) -> list[str]:
        """What the contract has against them, a line each: of every request, and of every answer that was given."""
        found = []
        for number, exchange in enumerate(exchanges, 1):
            problems = self.problems_of_request(exchange.asked)
            if exchange.answer is not None:
                problems += self.problems_of_answer(exchange.asked, exchange.answer)
            found += [f"request {number}, {exchange.operation}: {problem}" for problem in problems]
        return found

    def problems_of_request(self, asked: Asked) -> list[str]:
        """Of its path, its query and its body. A key that the contract does not name is a problem too."""
        key = self._key(asked)
        if key is None:
            return [f"the contract has no {asked.method} {asked.path}"]
        operation = self.operations[key]
        allowed = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "query"}
        problems = [f"no parameter {name} in the query" for name in asked.query if name not in allowed]
        if "requestBody" not in operation:
            return [*problems, *(["no body is wanted"] if asked.raw else [])]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        return problems + self._against(key, schema, asked.body)

    def problems_of_answer(self, asked: Asked, answer: Answer) -> list[str]:
        """Of its status and its body; the 2026-09 way of telling errors of a batch is read as that of 2026-03."""
        key = self._key(asked)
        if key is None or answer.status == 429:  # documented in another shape than the contract's one for errors
            return []
        answers, status, body = self.operations[key]["responses"], str(answer.status), _without_nulls(answer.body)
        if isinstance(body, dict) and "numErrors" in body and "207" in answers:
            status = "207"
        if status not in answers:
            if answer.status < 400:
                return [f"status {status} is not in the contract"]
            status = "default"
            body = {name: value for name, value in body.items() if name != "status"}  # documented, not in the contract
        return self._against(key, answers[status]["content"]["application/json"]["schema"], body)

    def _key(self, asked: Asked) -> tuple[str, str] | None:
        path = _AS_CALLS.sub("calls", re.sub(r"(?<=/)20\d\d-\d\d(?=/)", _WRITTEN_DOWN, asked.path, count=1))
        fitting = [key for key in self.operations if key[0] == asked.method.lower() and _fits(key[1], path)]
        return min(fitting, key=lambda key: key[1].count("{"), default=None)

    def _against(self, key: tuple[str, str], schema: Told, body: Any) -> list[str]:
        whole = {"components": self.components[key], "allOf": [_closed(schema)]}
        errors = Draft202012Validator(whole, format_checker=_FORMATS).iter_errors(body)
        return [f"{'.'.join(map(str, error.absolute_path)) or 'body'}: {error.message}" for error in errors]


def hubspot_contract_if_any() -> Contract | None:
    """The contract, or None where it cannot be had."""
    folder = specs_folder() / "hubspot"
    return Contract.load(folder) if folder.is_dir() else None


def hubspot_contract() -> Contract:
    """The contract; where it cannot be had, the test that asks is skipped."""
    found = hubspot_contract_if_any()
    if found is None:
        pytest.skip(f"no contract of HubSpot in {specs_folder()}; CONTRACT_SPECS names the folder that holds it")
    return found


def _closed(schema: Told) -> Told:
    """The schema with no other keys than those that it names."""
    closed = copy.deepcopy(schema)
    for part in _parts(closed):
        if "properties" in part:
            part.setdefault("additionalProperties", False)
    return closed


def _parts(schema: Any) -> Iterator[Told]:
    if isinstance(schema, dict):
        if schema.get("type") == "object" or "$ref" in schema:
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


def _without_nulls(body: Any) -> Any:
    """An answer without nulls: HubSpot's clients allow them for properties, this contract knows texts alone."""
    if isinstance(body, dict):
        return {name: _without_nulls(value) for name, value in body.items() if value is not None}
    if isinstance(body, list):
        return [_without_nulls(value) for value in body]
    return body
