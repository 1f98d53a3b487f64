"""Every operation of CallRail's API that the client offers, from the operations' own declarations."""

from __future__ import annotations

import inspect
from typing import Any

from callrail.client import resources
from callrail.operation import Operation
from callrail.parameter import Parameter, Place
from routers.reference.markdown import code, page, table


def api_page() -> str:
    """The table of all operations, and the parameters of each."""
    operations = all_operations()
    return page(
        "CallRail's API",
        f"All {sum(not each.undocumented for each in operations)} operations that CallRail documents, and "
        f"{sum(bool(each.undocumented) for each in operations)} that it does not. In Python: `CallRail(...)` of the "
        "package `callrail`; in the shell: `callrail-router api`. Paths without a slash begin at "
        "`/v3/a/{account_id}/`. How to use them: [the API](../api.md).",
        table(("Method", "Path", "Python", "Shell", "What it does"), map(_row, operations)),
        "## Options of every operation",
        table(("Option", "What it means"), _option_rows(operations)),
        *(part for name in resources() for part in _resource(name)),
    )


def all_operations() -> list[Operation]:
    """All of them, by resource."""
    return [operation for resource in resources().values() for operation in resource.operations.values()]


def shell_name(operation: Operation) -> str:
    """How the shell calls it, `calls page-views`."""
    return f"{operation.resource} {operation.verb}".replace("_", "-")


def _row(operation: Operation) -> tuple[str, ...]:
    marks = [*(f"**{danger}**" for danger in operation.dangers), *(["undocumented"] if operation.undocumented else [])]
    purpose = f"{operation.purpose} {'; '.join(marks)}".strip()
    link = f"[`{operation.name}`](#{_anchor(operation)})"
    return (operation.method, code(operation.path), link, code(shell_name(operation)), purpose)


def _anchor(operation: Operation) -> str:
    return operation.name.replace(".", "")


def _option_rows(operations: list[Operation]) -> list[tuple[str, str]]:
    helps = {name: text for operation in operations for name, text in operation.options.items()}
    return [(code(name), text) for name, text in helps.items()]


def _resource(name: str) -> list[str]:
    resource = resources()[name]
    parts = [f"## {name}", inspect.cleandoc(resource.__doc__ or "")]
    for operation in resource.operations.values():
        parts += _operation(operation)
    return parts


def _operation(operation: Operation) -> list[str]:
    body = inspect.cleandoc(operation.function.__doc__ or "")
    text, _, _ = body.partition("\nArgs:\n")
    text = text.partition("\nRaises:\n")[0].strip().replace("``", "`")
    parts = [f"### {operation.name}", f"`{operation.method} {operation.full_path}`", text]
    if operation.undocumented:
        parts.append(f"Undocumented; seen in {operation.undocumented}.")
    if operation.parameters:
        parts.append(table(("Parameter", "Takes", "What it means"), map(_parameter, operation.parameters.values())))
    return parts


def _parameter(parameter: Parameter) -> tuple[str, str, str]:
    name = code(parameter.name) + (" (required)" if parameter.is_required and parameter.place is not Place.PATH else "")
    keys = f" Keys: {' '.join(map(code, parameter.keys))}." if parameter.keys else ""
    dangers = "".join(
        f" **{danger[0].upper()}{danger[1:]}.**" for danger in dict.fromkeys(risk.danger for risk in parameter.risks)
    )
    return name, _takes(parameter), parameter.help.replace("``", "`") + keys + dangers


def _takes(parameter: Parameter) -> str:
    if parameter.is_object:
        return "object"
    if parameter.choices:
        listed = " ".join(code(choice) for choice in parameter.choices)
        return f"any of {listed}" if parameter.is_many else listed
    return "texts" if parameter.is_many else _kind(parameter.kind)


def _kind(kind: Any) -> str:
    """The kind in a word, as a reader of either Python or the shell says it."""
    words = {"str": "text", "int": "number", "bool": "true or false", "Path": "file", "date": "day or time"}
    told = kind.__name__ if isinstance(kind, type) else str(kind)
    return next((word for name, word in reversed(words.items()) if name in told), "object")
