"""Which function answers which method and path."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from routers.fake_callrail.asking import Handler


@dataclass(frozen=True)
class Route:
    """One operation. *suffix* is `.json` but for what is documented without; *budget* has a limit of its own."""

    method: str
    path: str
    handler: Handler
    pattern: re.Pattern[str]
    suffix: str
    budget: str | None


ROUTES: list[Route] = []


def answers(
    method: str, path: str, *, suffix: str = ".json", budget: str | None = None
) -> Callable[[Handler], Handler]:
    """Answer *method* on *path*, which begins after the account and has `*` for each id."""

    def add(handler: Handler) -> Handler:
        pattern = re.compile("([^/]+)".join(re.escape(part) for part in path.split("*")))
        ROUTES.append(Route(method, path, handler, pattern, suffix, budget))
        return handler

    return add


@dataclass(frozen=True)
class Match:
    """A route, and the ids in the path."""

    route: Route
    ids: tuple[str, ...]


def match(method: str, path: str, *, is_json: bool) -> Match | int:
    """The route of a path after the account, or the status of there being none: 404, or 405 for another method.

    Args:
        is_json: Whether the query says `format=json`, which stands in for `.json` (as in `next_page`).
    """
    is_known = False
    for route in ROUTES:
        bare = path.removesuffix(".json") if path.endswith(".json") else None
        stem = bare if route.suffix and bare is not None else path if not route.suffix or is_json else None
        found = route.pattern.fullmatch(stem) if stem is not None else None
        if found is not None:
            if route.method == method:
                return Match(route, found.groups())
            is_known = True
    return 405 if is_known else 404
