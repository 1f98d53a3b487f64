"""`callrail/sync.pyi`: the types of the synchronous client, written from those of the asynchronous one."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from callrail.client import resources
from callrail.operation import Resource
from routers.reference.markdown import COMMAND

_HEAD = f'''"""The types of `callrail.sync`. Written from the operations' declarations by `{COMMAND}`; do not edit."""

'''
_OF_THE_CLIENT = """
Row = TypeVar("Row")

class Listing(Generic[Row]):
    \"\"\"The rows of a list, as an iterator; nothing is asked for before it is read.\"\"\"

    def __iter__(self) -> Iterator[Row]: ...
    def pages(self) -> Iterator[Page[Row]]:
        \"\"\"The same, page by page; one request each.\"\"\"

"""
_OWN_IMPORTS = {
    "Collection": "collections.abc",
    "Iterable": "collections.abc",
    "Iterator": "collections.abc",
    "Mapping": "collections.abc",
    "timedelta": "datetime",
    "Path": "pathlib",
    "TracebackType": "types",
    "Any": "typing",
    "Generic": "typing",
    "Self": "typing",
    "TypeVar": "typing",
    "Budgets": "callrail.budgets",
    "Download": "callrail.downloading",
    "Page": "callrail.paging",
    "Pace": "callrail.sending",
}
_CLIENT = '''
class CallRail:
    """As `callrail.CallRail`, for programs without an event loop. Close it, or use it in a `with`."""

{attributes}

    def __init__(
        self,
        api_key: str,
        account_id: str | int | None = None,
        *,
        base_url: str = ...,
        budgets: Budgets | None = None,
        timeout: timedelta = ...,
        deadline: timedelta = ...,
        allow_hosts: Iterable[str] = (),
        pace: Pace | None = None,
    ) -> None: ...
    def for_account(self, account_id: str | int) -> Self:
        """The same client for another account of the key; closing this one closes that one too."""

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        deadline: timedelta | None = None,
    ) -> Any:
        """Any request to the API; see `callrail.CallRail.request`."""

    def download(
        self, url: str, to: Path, *, max_bytes: int | None = None, only_from: Collection[str] | None = None
    ) -> Download:
        """Save a recording or a text's media; see `callrail.CallRail.download`."""

    def close(self) -> None:
        """Close all connections, and end the thread. May be called twice."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
'''


def sync_types() -> str:
    """The text of the file.

    Raises:
        ValueError: Two resources mean different things by one name, which one file cannot hold.
    """
    imports = dict(_OWN_IMPORTS)
    classes = []
    for resource in resources().values():
        classes.append(_class(resource))
        for name, home in _homes(resource).items():
            if imports.setdefault(name, home) != home:
                raise ValueError(f"{name} of {home} is another one than that of {imports[name]}; rename one")
    by_home: dict[str, list[str]] = {}
    for name, home in imports.items():
        by_home.setdefault(home, []).append(name)
    lines = [f"from {home} import {', '.join(sorted(names))}" for home, names in sorted(by_home.items())]
    attributes = "\n".join(f"    {name}: {kind.__name__}" for name, kind in resources().items())
    return "\n".join([_HEAD, *lines, _OF_THE_CLIENT, *classes, _CLIENT.format(attributes=attributes)])


def _class(resource: type[Resource]) -> str:
    """The resource's class, its operations without `async` and without what they do."""
    source = ast.parse(inspect.getsource(resource)).body[0]
    assert isinstance(source, ast.ClassDef)  # noqa: S101 - the source of a class is one
    body: list[ast.stmt] = [source.body[0], *map(_stub, _operations(source))]
    return ast.unparse(ast.ClassDef(source.name, [], [], body, [])) + "\n"


def _operations(source: ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (
        each for each in source.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.decorator_list
    )


def _stub(operation: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.FunctionDef:
    arguments = operation.args
    hidden = ast.Constant(...)
    arguments.kw_defaults = [None if default is None else hidden for default in arguments.kw_defaults]
    arguments.defaults = [hidden for _ in arguments.defaults]
    return ast.FunctionDef(operation.name, arguments, operation.body[:1], [], operation.returns, lineno=0)


def _homes(resource: type[Resource]) -> Mapping[str, str]:
    """The module of each name that stands in the types of the resource's operations."""
    module = sys.modules[resource.__module__]
    imported = {
        alias.asname or alias.name: node.module
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    source: Any = ast.parse(inspect.getsource(resource)).body[0]
    names = {
        node.id
        for operation in _operations(source)
        for part in [operation.returns, *_annotations(operation.args)]
        if part is not None
        for node in ast.walk(part)
        if isinstance(node, ast.Name)
    }
    own = {name for name in names if name in vars(module)} - {"Listing"}
    return {name: imported.get(name, resource.__module__) for name in own}


def _annotations(arguments: ast.arguments) -> Iterator[ast.expr]:
    last = [arguments.kwarg] if arguments.kwarg else []
    for each in [*arguments.args, *arguments.kwonlyargs, *last]:
        if each.annotation is not None:
            yield each.annotation
