"""The three laws through the store: any order, repetition and batching of a call's webhooks, on both databases."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from receiver.schema import events
from routers.lifecycle import Outcome, outcome_of
from routers.routing import route
from routers.schema import attempts, deliveries, lanes, objects, transitions, versions
from routers.transitions import Transition
from tests.routers.store import FixedClock, a_rule, opened, receive, rows_of, rule_set

_RINGING = {"resource_id": "CAL1", "answered": False, "call_type": "missed", "duration": 0}
_EARLY = {"pre_call": Transition.CALL_RINGING, "call_routing_complete": Transition.CALL_ROUTED}
_OUTCOMES = {f"call.{outcome}" for outcome in Outcome}
_ENDS = st.fixed_dictionaries(
    {"resource_id": st.just("CAL1"), "direction": st.just("inbound")},
    optional={
        "answered": st.booleans(),
        "voicemail": st.booleans(),
        "duration": st.sampled_from([3, 300]),
        "tags": st.sampled_from([[], ["vip"]]),
        "recording": st.sampled_from(["", "https://a"]),
    },
)
RULES = rule_set(*(a_rule(name.value.replace(".", "-"), name) for name in Transition))
SETTINGS = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@SETTINGS
@given(end=_ENDS, data=st.data())
def test_any_order_repetition_and_batching_ends_in_the_same_call(
    database_url: str, end: dict[str, Any], data: st.DataObject
) -> None:
    """Laws 1 and 2: one stage, outcome and outcome transition; early news is told only while it is news."""
    posted = [("pre_call", _RINGING), ("call_routing_complete", _RINGING), ("post_call", end)]
    repeats = data.draw(st.lists(st.sampled_from(posted), max_size=3))
    order = data.draw(st.permutations([*posted, *repeats]))
    batch = data.draw(st.integers(1, 3))
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            for table in (attempts, deliveries, transitions, versions, objects, lanes, events):
                conn.execute(delete(table))
            for kind, body in order:
                receive(conn, kind, body)
        for _ in order:
            with database.writing.begin() as conn:
                route(conn, FixedClock(), RULES, limit=batch)

        (obj,) = rows_of(database, objects)
        happened = rows_of(database, transitions)
        told = [row.rule for row in rows_of(database, deliveries)]
        known = rows_of(database, versions)[-1]

    outcome = outcome_of(end)
    assert (obj.stage, obj.outcome) == ("ended", outcome)
    assert [row.name for row in happened if row.name in _OUTCOMES] == (
        [f"call.{outcome}"] if outcome != "unknown" else []
    )
    assert sorted(told) == sorted(row.name.replace(".", "-") for row in happened if row.state == "routed")
    assert {name: known.fields[name] for name in end} == {
        name: None if told in ("", []) else told for name, told in end.items()
    }
    first = {kind: [posting[0] for posting in order].index(kind) for kind, _ in posted}
    for kind, name in _EARLY.items():
        (row,) = [row for row in happened if row.name == name]
        later_came_first = any(first[other] < first[kind] for other, _ in posted if _rank(other) > _rank(kind))
        assert row.state == "superseded" or not later_came_first


def _rank(kind: str) -> int:
    return ["pre_call", "call_routing_complete", "post_call"].index(kind)


@SETTINGS
@given(tags=st.lists(st.sampled_from([["a"], ["b"], []]), min_size=1, max_size=6), batch=st.integers(1, 6))
def test_opinions_follow_receipt_and_each_change_is_told(database_url: str, tags: list[list[str]], batch: int) -> None:
    """Law 3: the last telling holds; A -> B -> A is two changes, and an equal telling in a row is a repeat."""
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            for table in (attempts, deliveries, transitions, versions, objects, lanes, events):
                conn.execute(delete(table))
            receive(conn, "post_call", {"resource_id": "CAL1", "answered": True, "tags": ["first"]})
            for told in tags:
                receive(conn, "call_modified", {"resource_id": "CAL1", "answered": True, "tags": told})
        for _ in range(len(tags) + 1):
            with database.writing.begin() as conn:
                route(conn, FixedClock(), RULES, limit=batch)

        latest = rows_of(database, versions)[-1].fields["tags"]
        changes = [row for row in rows_of(database, transitions) if row.name == Transition.CALL_CHANGED]
    assert latest == (tags[-1] or None)
    assert len(changes) == sum(before != after for before, after in zip([["first"], *tags], tags, strict=False))
