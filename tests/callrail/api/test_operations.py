"""All operations of the API are there, each once."""

from __future__ import annotations

import re

from callrail.client import resources
from callrail.operation import Operation
from tests.callrail.api.documented import DOCUMENTED, UNDOCUMENTED, pairs

OPERATIONS = [operation for resource in resources().values() for operation in resource.operations.values()]


def method_and_path(operation: Operation) -> tuple[str, str]:
    return operation.method, re.sub(r"{\w+}", "{}", operation.path)


def test_every_documented_operation_is_declared_once() -> None:
    declared = [method_and_path(operation) for operation in OPERATIONS if not operation.undocumented]

    assert len(pairs(DOCUMENTED)) == 71
    assert sorted(declared) == sorted(pairs(DOCUMENTED))


def test_what_is_not_documented_is_marked() -> None:
    declared = [method_and_path(operation) for operation in OPERATIONS if operation.undocumented]

    assert sorted(declared) == sorted(pairs(UNDOCUMENTED))


def test_every_operation_says_what_it_does_and_what_each_parameter_means() -> None:
    for operation in OPERATIONS:
        assert operation.purpose.endswith("."), operation.name
        for parameter in operation.parameters.values():
            assert parameter.help.endswith("."), f"{operation.name}: {parameter.name} is not explained"


def test_what_deletes_is_known_to_be_dangerous() -> None:
    assert [each.name for each in OPERATIONS if each.method == "DELETE" and not each.dangers] == []
