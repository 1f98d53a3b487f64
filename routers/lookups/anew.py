"""Asking anew what the rules need of something that is stored: to see what they would say, or for a replay.

Deciding is not waiting: it is tried with the answers there are, says which it lacks, and is tried again with those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, select, update

from receiver.clock import Clock
from receiver.columns import fixed
from receiver.database import Database
from routers.deciding import Decider, Looking
from routers.explaining import without_answers
from routers.history import happened_of
from routers.lookups.answers import Answer
from routers.lookups.asking import Lookups
from routers.lookups.definitions import About
from routers.redeciding import LIVES, occasion_of
from routers.rules.answers import LOOKED_UP, LOOKUP
from routers.rules.needs import Needs
from routers.rules.ruleset import RuleSet
from routers.schema import TransitionState, objects, transitions
from routers.zones import told_zones

_AT_ONCE = 10  # questions
_BATCH = 50  # transitions


class Anew:
    """The answers that were asked for anew, and what is still lacking.

    Args:
        since: What was asked before this is asked again.
        tell: Told of how many questions are asked, before they are.
    """

    def __init__(
        self, lookups: Lookups, needs: Needs, since: datetime, tell: Callable[[int], None] = lambda _: None
    ) -> None:
        self._lookups = lookups
        self._needs = needs
        self._since = since
        self._tell = tell
        self._answers: dict[str, Answer] = {}
        self._lacking: dict[str, tuple[str, About]] = {}

    def looking(self, now: datetime) -> Looking:
        """How what is asked anew is found; what is not there is asked by the next `ask`."""

        def find(names: Collection[str], about: About) -> Mapping[str, Answer]:
            keys = {name: self._lookups.key_of(name, about, now) for name in names}
            self._lacking |= {key: (name, about) for name, key in keys.items() if key not in self._answers}
            return {name: self._answers[key] for name, key in keys.items() if key in self._answers}

        return Looking(self._needs, find, self._lookups.dropping)

    async def ask(self, now: datetime) -> bool:
        """Ask CallRail for what was lacking; whether anything was."""
        lacking, self._lacking = self._lacking, {}
        questions = list(lacking.items())
        if questions:
            self._tell(len(questions))
        for first in range(0, len(questions), _AT_ONCE):
            some = questions[first : first + _AT_ONCE]
            asked = (self._lookups.ask(name, about, now, since=self._since) for _, (name, about) in some)
            answers = await asyncio.gather(*asked)
            self._answers |= {key: answer for (key, _), answer in zip(some, answers, strict=True)}
        return bool(lacking)


# --- for a replay ----------------------------------------------------------------------------------------------------


async def look_up_anew(
    database: Database, clock: Clock, rules: RuleSet, wanted: Collection[str], anew: Anew, *, since: datetime | None
) -> int:
    """Ask anew what today's rules need of the transitions *wanted*, and keep it with them. Of how many.

    Of somebody who was erased nothing is asked, nor of what is so old that it is removed.

    Args:
        wanted: Their ids.
        since: What happened before this is not asked about; None if all is.
    """
    ids, count = sorted(wanted), 0
    for first in range(0, len(ids), _BATCH):
        count += await _look_up_some(database, clock, rules, ids[first : first + _BATCH], anew, since)
    return count


async def _look_up_some(
    database: Database, clock: Clock, rules: RuleSet, wanted: Sequence[str], anew: Anew, since: datetime | None
) -> int:
    asked: list[ColumnElement[bool]] = [_is_over, transitions.c.id.in_(wanted)]
    if since is not None:
        asked.append(transitions.c.created_at >= since)
    lives = LIVES.where(objects.c.erased_at.is_(None)).add_columns(and_(*asked).label("is_asked"))
    found: dict[str, Mapping[str, Mapping[str, Any]]] = {}
    lacks = True
    while lacks:
        with database.reading.connect() as conn:
            now, zones = clock.now(conn), told_zones(conn)
            ids = list(conn.execute(select(transitions.c.object_id).where(*asked).distinct()).scalars())
            rows = conn.execute(lives, {"ids": ids}).all()
        decider = Decider(rules, zones, lambda *_: True, anew.looking(now))
        found = {}
        for _, life in groupby(rows, lambda row: row.object_id):
            found |= _of_life(decider, list(life), now)
        lacks = await anew.ask(now)
    with database.writing.begin() as conn:
        return sum(_keep(conn, transition_id, new) for transition_id, new in sorted(found.items()))


_is_over = transitions.c.state.in_((fixed(TransitionState.ROUTED), fixed(TransitionState.SUPERSEDED)))


def _of_life(decider: Decider, life: Sequence[Row[Any]], now: datetime) -> dict[str, Mapping[str, Mapping[str, Any]]]:
    """Of each transition that is asked for and can be decided, what was looked up, by its id."""
    found: dict[str, Mapping[str, Mapping[str, Any]]] = {}
    past: list[Row[Any]] = []
    for _, grouped in groupby(life, lambda row: (row.version, row.event_id)):
        rows = list(grouped)
        if any(row.is_asked for row in rows):
            occasion = occasion_of(rows, past, is_matched=False, now=now)
            decided = decider.decide(occasion, map(without_answers, map(happened_of, rows)))
            for new, row in zip(decided.transitions, rows, strict=True):
                if row.is_asked and not decided.waits and LOOKED_UP in (new.details or {}):
                    found[row.id] = {name: (new.details or {})[name] for name in (LOOKUP, LOOKED_UP)}
        past += rows
    return found


_one = (
    select(transitions.c.details)
    .join(objects, objects.c.id == transitions.c.object_id)
    .where(transitions.c.id == bindparam("one"), objects.c.erased_at.is_(None))
    .with_for_update()
)


def _keep(conn: Connection, transition_id: str, new: Mapping[str, Mapping[str, Any]]) -> bool:
    """Keep the *new* answers with the transition. Where one failed, what was told then stays."""
    row = conn.execute(_one, {"one": transition_id}).one_or_none()
    if row is None:
        return False
    details = dict(row.details or {})
    answers, noted = dict(details.get(LOOKUP) or {}), dict(details.get(LOOKED_UP) or {})
    for name, about in new[LOOKED_UP].items():
        if name in new[LOOKUP] or name not in answers:
            noted[name] = about
    details |= {LOOKUP: {**answers, **new[LOOKUP]}, LOOKED_UP: noted}
    conn.execute(update(transitions).where(transitions.c.id == transition_id).values(details=details))
    return True
