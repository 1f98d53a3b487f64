"""The life cycle of a call, a text and a form: the three laws, and the table of outcomes."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callrail.fields import OPINIONS
from callrail.kinds import Kind
from callrail.payload import Fields, read_payload
from routers.lifecycle import (
    Event,
    Happened,
    Object,
    Outcome,
    Stage,
    apply,
    is_seen_before,
    outcome_of,
    renew,
    repeat_of,
)
from routers.simulator import Story, life_cycle
from routers.transitions import Transition

CALL_STORIES = [Story.MISSED, Story.ANSWERED, Story.VOICEMAIL, Story.ABANDONED]
ONE_EACH = [Kind.PRE_CALL, Kind.CALL_ROUTING_COMPLETE, Kind.POST_CALL]
OUTCOMES = {Transition.CALL_ANSWERED, Transition.CALL_MISSED, Transition.CALL_ABANDONED, Transition.CALL_VOICEMAIL}
RINGING = {"answered": False, "call_type": "missed", "duration": 0, "voicemail": False}


def an_event(number: int, kind: Kind, fields: Fields) -> Event:
    """The event received as the *number*-th; equal fields stand for equal bodies."""
    body = repr(sorted(fields.items())).encode()
    return Event(f"ev_{number:026}", kind, fields, hashlib.sha256(body).hexdigest())


def after(events: Iterable[Event], obj: Object | None = None) -> tuple[Object, list[Happened]]:
    """What *events* make of an object in the order given, as routing does it: a repeat is not applied."""
    obj, all_happened = obj or Object(), []
    for event in events:
        if (repeated := repeat_of(obj, event)) is not None:
            obj = renew(obj, repeated, event)
        else:
            obj, happened = apply(obj, event)
            all_happened += happened
    return obj, all_happened


def told(happened: Iterable[Happened]) -> list[Transition]:
    return sorted(item.name for item in happened if not item.superseded)


def story_fields(story: Story, seed: int) -> dict[Kind, Fields]:
    """The fields of one simulated call by kind, without what changes it later."""
    postings = life_cycle(
        story,
        rng=random.Random(seed),
        started_at=datetime(2026, 3, 10, 13, 15, tzinfo=UTC),
        callrail_id=None,
        company_name="Acme",
    )
    read = {Kind(posting.kind): read_payload(posting.body).fields for posting in postings}
    return {kind: fields for kind, fields in read.items() if kind in ONE_EACH}


# Few names and few values, so that tellings of one field meet.
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "answered": st.sampled_from([None, True, False]),
    "voicemail": st.sampled_from([None, True, False]),
    "call_type": st.sampled_from([None, "missed", "answered", "abandoned", "voicemail", "in_progress", "odd"]),
    "duration": st.sampled_from([None, 0, 14, 15, 300]),
    "recording": st.sampled_from([None, "https://a", "https://b"]),
    "customer_name": st.sampled_from([None, "A", "B"]),
    "tags": st.sampled_from([None, ["x"], ["y"]]),
    "spam": st.sampled_from([None, True, False]),
    "changes": st.sampled_from([None, ["tags"]]),
    "never_seen_before": st.sampled_from([None, 1, {"a": [2]}]),
}
fields_told: st.SearchStrategy[Fields] = st.fixed_dictionaries({}, optional=_VALUES)


@st.composite
def one_each(draw: st.DrawFn) -> list[Event]:
    """A pre-call, a routing-complete and a post-call of one call; the last is no ringing one and tells so."""
    number = itertools.count(1)
    fields = [draw(fields_told) for _ in ONE_EACH]
    if fields[2].get("call_type") == "in_progress":
        fields[2]["call_type"] = "answered"
    return [an_event(next(number), kind, told) for kind, told in zip(ONE_EACH, fields, strict=True)]


@st.composite
def shuffled_with_repeats(draw: st.DrawFn, events: st.SearchStrategy[list[Event]]) -> tuple[list[Event], list[Event]]:
    """Events, and a second sequence with the same bodies: each at least once, in any order, repeats under new ids."""
    originals = draw(events)
    repeats = draw(st.lists(st.sampled_from(originals), max_size=4))
    order = draw(st.permutations([*originals, *repeats]))
    return originals, [replace(event, id=f"ev_{number:026}") for number, event in enumerate(order, 1)]


def check_law_1(originals: Sequence[Event], shuffled: Sequence[Event]) -> None:
    once, happened = after(originals)
    again, happened_again = after(shuffled)

    assert (again.fields, again.stage, again.outcome) == (once.fields, once.stage, once.outcome)
    outcomes = [item for item in happened if item.name in OUTCOMES]
    assert [item for item in happened_again if item.name in OUTCOMES] == outcomes
    assert len(outcomes) <= 1


# --- law 1 -----------------------------------------------------------------------------------------------------------


@given(shuffled_with_repeats(one_each()))
def test_any_order_and_repetition_of_one_each_ends_in_the_same_call(case: tuple[list[Event], list[Event]]) -> None:
    """Law 1: fields, stage, outcome and the one outcome transition do not depend on how the network behaved."""
    check_law_1(*case)


@pytest.mark.parametrize("story", CALL_STORIES)
@given(seed=st.integers(0, 2**32), data=st.data())
def test_any_order_and_repetition_of_a_simulated_call_ends_the_same(
    story: Story, seed: int, data: st.DataObject
) -> None:
    """Law 1 for bodies as CallRail writes them."""
    events = [an_event(number, kind, told) for number, (kind, told) in enumerate(story_fields(story, seed).items(), 1)]
    originals, shuffled = data.draw(shuffled_with_repeats(st.just(events)))

    check_law_1(originals, shuffled)
    final, happened = after(shuffled)
    assert (final.stage, final.outcome) == (Stage.ENDED, Outcome(story.value))
    assert [item.name for item in happened if item.name in OUTCOMES] == [Transition(f"call.{story.value}")]


@given(
    st.lists(st.tuples(st.sampled_from([*ONE_EACH, Kind.CALL_MODIFIED]), fields_told), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_merging_is_commutative_and_associative(told: list[tuple[Kind, Fields]], rng: random.Random) -> None:
    """Any events of one call, applied in any order, end in the same fields, each with the same source."""
    events = [an_event(number, kind, fields) for number, (kind, fields) in enumerate(told, 1)]
    shuffled = rng.sample(events, len(events))

    # `apply` and not `after`: which body counts as a repeat depends on what is the newest at that moment.
    once, again = Object(), Object()
    for event, other in zip(events, shuffled, strict=True):
        once, again = apply(once, event)[0], apply(again, other)[0]

    assert (again.fields, again.sources, again.newest) == (once.fields, once.sources, once.newest)
    assert (again.stage, again.told & {Transition.CALL_ENDED}) == (once.stage, once.told & {Transition.CALL_ENDED})


@given(st.lists(st.tuples(st.sampled_from([*ONE_EACH, Kind.CALL_MODIFIED]), fields_told), min_size=1, max_size=5))
def test_merging_is_idempotent(told: list[tuple[Kind, Fields]]) -> None:
    """An event applied a second time changes nothing but the count, and what happens once does not happen anew."""
    events = [an_event(number, kind, fields) for number, (kind, fields) in enumerate(told, 1)]
    obj = Object()
    for event in events:
        obj, _ = apply(obj, event)

    for event in events:
        again, happened = apply(obj, event)
        assert again._replace(version=obj.version) == obj
        assert {item.name for item in happened} <= {Transition.CALL_CHANGED}  # its `changes` are told again


# --- law 2 -----------------------------------------------------------------------------------------------------------

_STAGE = {Kind.PRE_CALL: Stage.RINGING, Kind.CALL_ROUTING_COMPLETE: Stage.ROUTED, Kind.POST_CALL: Stage.ENDED}
_EARLY = {Kind.PRE_CALL: Transition.CALL_RINGING, Kind.CALL_ROUTING_COMPLETE: Transition.CALL_ROUTED}


@given(shuffled_with_repeats(one_each()))
def test_early_news_is_superseded_exactly_when_the_call_is_already_further(
    case: tuple[list[Event], list[Event]],
) -> None:
    """Law 2: ringing and routed are recorded, each once, and superseded if and only if something later came first."""
    _, shuffled = case
    obj = Object()
    seen: set[Transition] = set()
    for event in shuffled:
        before = obj.stage
        obj, happened = after([event], obj)
        early = [item for item in happened if item.name in _EARLY.values()]
        expected = (
            [Happened(_EARLY[event.kind], superseded=before > _STAGE[event.kind])] if event.kind in _EARLY else []
        )
        assert early == [item for item in expected if item.name not in seen]
        assert all(not item.superseded for item in happened if item not in early)
        seen |= {item.name for item in early}
    assert seen == set(_EARLY.values())


def test_news_of_a_call_in_order_is_never_superseded() -> None:
    """Ringing, routed, ended and the outcome, each told."""
    kinds = [Kind.PRE_CALL, Kind.CALL_ROUTING_COMPLETE, Kind.POST_CALL]
    events = [an_event(number, kind, {**RINGING, "duration": 30}) for number, kind in enumerate(kinds, 1)]

    _, happened = after(events)

    assert happened == [
        Happened(Transition.CALL_RINGING),
        Happened(Transition.CALL_ROUTED),
        Happened(Transition.CALL_ENDED),
        Happened(Transition.CALL_MISSED),
    ]


# --- law 3 -----------------------------------------------------------------------------------------------------------

opinions_told: st.SearchStrategy[Fields] = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from([None, "a", "b", ["c"]]) for name in sorted(OPINIONS)}
)
facts_told: st.SearchStrategy[Fields] = st.fixed_dictionaries(
    {},
    optional={
        name: st.sampled_from([None, "a", "b"])
        for name in ("recording", "transcription", "customer_phone_number", "start_time", "duration")
    },
)


@given(
    st.lists(st.tuples(st.sampled_from([Kind.POST_CALL, Kind.CALL_MODIFIED]), opinions_told), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_opinions_follow_the_order_of_receipt(told: list[tuple[Kind, Fields]], rng: random.Random) -> None:
    """Law 3: in whatever order full objects are applied, each opinion is the one received last, also if empty."""
    events = [an_event(number, kind, fields) for number, (kind, fields) in enumerate(told, 1)]
    expected: Fields = {}
    for event in events:
        expected |= event.fields

    obj = Object()
    for event in rng.sample(events, len(events)):
        obj, _ = apply(obj, event)

    assert obj.fields == expected


_two_opinions: st.SearchStrategy[Fields] = st.fixed_dictionaries({"tags": st.sampled_from([None, ["x"], ["y"]])})


@given(st.lists(_two_opinions, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_a_change_and_back_ends_as_received_last_in_any_order(told: list[Fields], rng: random.Random) -> None:
    """A tag on, off and on again, the last taken up before the middle one, used to end in off."""
    events = [an_event(number, Kind.CALL_MODIFIED, fields) for number, fields in enumerate(told, 1)]

    obj, _ = after(rng.sample(events, len(events)))

    assert obj.fields == told[-1]


@given(st.lists(st.tuples(st.sampled_from(ONE_EACH), opinions_told), min_size=1, max_size=6))
def test_a_partial_object_never_replaces_an_opinion(told: list[tuple[Kind, Fields]]) -> None:
    """What a full object said stands against any ringing or routed news received later."""
    full = an_event(1, Kind.POST_CALL, dict.fromkeys(OPINIONS, "from the full object"))
    partial = [
        an_event(number, kind, fields) for number, (kind, fields) in enumerate(told, 2) if kind is not Kind.POST_CALL
    ]

    obj, _ = after([full, *partial])

    assert obj.fields == full.fields


@given(
    st.lists(st.tuples(st.sampled_from([*ONE_EACH, Kind.CALL_MODIFIED]), facts_told), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_a_fact_is_never_blanked(told: list[tuple[Kind, Fields]], rng: random.Random) -> None:
    """Once any event that may tell a fact has told it, no other makes it empty again."""
    events = [an_event(number, kind, fields) for number, (kind, fields) in enumerate(told, 1)]
    known: set[str] = set()
    obj = Object()
    for event in rng.sample(events, len(events)):
        obj, _ = apply(obj, event)
        known |= {name for name in obj.fields if obj.fields[name] is not None}
        assert {name for name in obj.fields if obj.fields[name] is not None} == known


# --- outcomes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        pytest.param({"voicemail": True, "answered": True}, Outcome.VOICEMAIL, id="voicemail-beats-answered"),
        pytest.param({"call_type": "voicemail", "answered": True}, Outcome.VOICEMAIL, id="voicemail-by-type"),
        pytest.param({"call_type": "voicemail_transcription"}, Outcome.VOICEMAIL, id="voicemail-with-transcript"),
        pytest.param({"answered": True}, Outcome.ANSWERED, id="answered"),
        pytest.param({"answered": True, "call_type": "missed"}, Outcome.ANSWERED, id="answered-beats-type"),
        pytest.param({"call_type": "answered"}, Outcome.ANSWERED, id="answered-by-type"),
        pytest.param({"call_type": "abandoned", "answered": False}, Outcome.ABANDONED, id="abandoned"),
        pytest.param({"call_type": "abandonded", "duration": 40}, Outcome.ABANDONED, id="abandonded-as-documented"),
        pytest.param({"call_type": "missed", "answered": False, "duration": 3}, Outcome.MISSED, id="missed-at-once"),
        pytest.param({"answered": False, "duration": 14}, Outcome.ABANDONED, id="unanswered-14-s"),
        pytest.param({"answered": False, "duration": 15}, Outcome.MISSED, id="unanswered-15-s"),
        pytest.param({"answered": False, "duration": 0}, Outcome.ABANDONED, id="unanswered-0-s"),
        pytest.param({"answered": False}, Outcome.MISSED, id="unanswered-duration-untold"),
        pytest.param({"answered": False, "duration": None}, Outcome.MISSED, id="unanswered-duration-empty"),
        pytest.param({"answered": False, "call_type": "answered"}, Outcome.MISSED, id="answered-false-beats-type"),
        pytest.param({"answered": None, "call_type": None, "voicemail": False}, Outcome.UNKNOWN, id="told-empty"),
        pytest.param({"voicemail": False, "duration": 30}, Outcome.UNKNOWN, id="nothing-that-decides"),
        pytest.param({}, Outcome.UNKNOWN, id="nothing-told"),
    ],
)
def test_the_outcome_is_decided_in_the_designs_order(fields: Fields, outcome: Outcome) -> None:
    """Voicemail, answered, abandoned, missed, then what answered false and the duration say, then unknown."""
    assert outcome_of(fields) is outcome


@given(fields_told, st.sampled_from([Kind.PRE_CALL, Kind.CALL_ROUTING_COMPLETE]))
def test_news_of_a_call_that_goes_on_never_decides_an_outcome(fields: Fields, kind: Kind) -> None:
    """A ringing call is posted as missed; nobody must be told so."""
    obj, happened = after([an_event(1, kind, {**fields, **RINGING})])

    assert obj.outcome is None
    assert told(happened) == [_EARLY[kind]]
    assert not set(RINGING) & set(obj.fields)


def test_a_call_told_as_in_progress_has_not_ended() -> None:
    """Whatever webhook says so: it goes on, and its outcome is open."""
    obj, happened = after([an_event(1, Kind.POST_CALL, {"answered": True, "call_type": "in_progress"})])

    assert (obj.stage, obj.outcome) == (Stage.ROUTED, None)
    assert told(happened) == [Transition.CALL_ROUTED]


def test_an_outcome_told_first_by_a_modified_call_counts() -> None:
    """A post-call that was lost is made up for by what comes after it."""
    _, happened = after([an_event(1, Kind.CALL_MODIFIED, {"answered": True, "changes": ["tags"]})])

    assert told(happened) == [Transition.CALL_ANSWERED, Transition.CALL_CHANGED, Transition.CALL_ENDED]


def test_a_modified_call_that_tells_no_outcome_leaves_the_known_one() -> None:
    """Nothing told is not unknown."""
    events = [an_event(1, Kind.POST_CALL, {"answered": True}), an_event(2, Kind.CALL_MODIFIED, {"changes": ["note"]})]

    obj, happened = after(events)

    assert obj.outcome is Outcome.ANSWERED
    assert told(happened) == [Transition.CALL_ANSWERED, Transition.CALL_CHANGED, Transition.CALL_ENDED]


def test_an_older_telling_of_the_outcome_does_not_revise_a_newer_one() -> None:
    """The newest ended source decides, whichever is applied first."""
    older = an_event(1, Kind.POST_CALL, {"call_type": "missed"})
    newer = an_event(2, Kind.CALL_MODIFIED, {"answered": True})

    assert after([older, newer])[0].outcome is after([newer, older])[0].outcome is Outcome.ANSWERED


# --- repeats, texts, forms, the rest ----------------------------------------------------------------------------------


def test_only_the_newest_equal_event_of_a_kind_is_repeated() -> None:
    """A tag on, off and on again is told in equal bodies, and the third is news."""
    on = an_event(1, Kind.CALL_MODIFIED, {"tags": ["x"]})
    off = an_event(2, Kind.CALL_MODIFIED, {"tags": None})
    on_again = replace(on, id=an_event(3, Kind.CALL_MODIFIED, {}).id)
    obj, _ = after([on, off])

    assert repeat_of(obj, on_again) is None
    obj, _ = after([on_again], obj)
    assert obj.fields == {"tags": ["x"]}
    assert repeat_of(obj, replace(on, id="ev_later")) == on_again.id


def test_equal_bodies_of_two_kinds_repeat_nothing() -> None:
    """The kinds of a call's webhooks differ by their URL alone."""
    obj, _ = after([an_event(1, Kind.PRE_CALL, RINGING)])

    assert repeat_of(obj, an_event(2, Kind.POST_CALL, RINGING)) is None


@pytest.mark.parametrize(
    ("kind", "transition"),
    [
        (Kind.TEXT_RECEIVED, Transition.TEXT_RECEIVED),
        (Kind.TEXT_SENT, Transition.TEXT_SENT),
        (Kind.FORM_SUBMISSION, Transition.FORM_SUBMITTED),
        (Kind.CONVERT_ASSIST, Transition.ASSIST_COMPLETED),
        (Kind.API_TEXT, Transition.TEXT_RECEIVED),
        (Kind.API_FORM, Transition.FORM_SUBMITTED),
        (Kind.UNKNOWN, Transition.UNKNOWN_RECEIVED),
    ],
)
def test_what_is_complete_as_it_arrives_happens_once(kind: Kind, transition: Transition) -> None:
    """Texts, forms and what is not understood yet are one transition each, and not a second one for another body."""
    obj, happened = after([an_event(1, kind, {"content": "a"}), an_event(2, kind, {"content": "b"})])

    assert obj.stage is Stage.COMPLETE
    assert happened == [Happened(transition)]


# --- what becomes of a call after its end -----------------------------------------------------------------------------

MISSED: Fields = {"answered": False, "call_type": "missed", "duration": 40}
ANSWERED: Fields = {"answered": True, "call_type": "answered", "duration": 40}


def names(*events: Event) -> list[list[Transition]]:
    """What each of *events* brings about, in order."""
    obj, every = Object(), []
    for event in events:
        obj, happened = after([event], obj)
        every.append([item.name for item in happened])
    return every


def last(*events: Event) -> Happened:
    """The last thing that the last of *events* brings about."""
    obj = Object()
    for event in events:
        obj, happened = after([event], obj)
    return happened[-1]


def test_call_changed_tells_what_was_before_and_what_changed() -> None:
    """Our own versions hold both; CallRail tells the names alone, some of them not names of fields."""
    ended = an_event(1, Kind.POST_CALL, {**ANSWERED, "tags": ["vip"], "note": None, "transcription": None})
    modified = an_event(
        2, Kind.CALL_MODIFIED, {**ANSWERED, "tags": None, "note": "call back", "changes": ["tag", "transcription_text"]}
    )

    changed = last(ended, modified)

    assert changed.name is Transition.CALL_CHANGED
    assert changed.details == {
        "changes": ["note", "tags", "transcription"],
        "$before": {"note": None, "tags": ["vip"], "transcription": None},
    }


def test_call_changed_happens_once_a_version() -> None:
    """A tag on, off and on again is three changes."""
    tags = [["vip"], None, ["vip"]]
    events = [an_event(1, Kind.POST_CALL, {**ANSWERED, "tags": None})]
    events += [an_event(number, Kind.CALL_MODIFIED, {**ANSWERED, "tags": told}) for number, told in enumerate(tags, 2)]

    assert names(*events)[1:] == [[Transition.CALL_CHANGED]] * 3


def test_a_modified_call_in_which_nothing_changed_is_no_change() -> None:
    """Other links to the same recording, and other counters, are no news."""
    ended = an_event(1, Kind.POST_CALL, {**ANSWERED, "recording": "https://a?access_key=1", "total_calls": 1})
    modified = an_event(2, Kind.CALL_MODIFIED, {**ANSWERED, "recording": "https://a?access_key=2", "total_calls": 2})

    assert names(ended, modified)[1] == []


LINK = "https://app.callrail.com/{}?access_key={}&size=2"


@pytest.mark.parametrize(
    ("before", "now", "changed"),
    [
        pytest.param(LINK.format(1, "a"), LINK.format(1, "b"), [], id="another-key"),
        pytest.param(LINK.format(1, "a"), LINK.format(2, "a"), ["call_highlights"], id="another-link"),
        pytest.param(LINK.format(1, "a"), LINK.format(1, "a") + "0", ["call_highlights"], id="behind-the-key"),
        pytest.param([LINK.format(1, "a"), "x"], [LINK.format(1, "b"), "x"], [], id="links"),
        pytest.param([LINK.format(1, "a")], [LINK.format(1, "b"), "x"], ["call_highlights"], id="one-more"),
        pytest.param("access_key=a", "access_key=b", ["call_highlights"], id="no-link"),
    ],
)
def test_a_link_that_differs_in_its_access_key_is_no_change(before: Any, now: Any, changed: list[str]) -> None:
    """Whatever the field is called; CallRail puts a new key into its links with each telling."""
    ended = an_event(1, Kind.POST_CALL, {**ANSWERED, "call_highlights": before})
    modified = an_event(2, Kind.CALL_MODIFIED, {**ANSWERED, "call_highlights": now})
    _, happened = after([ended, modified])

    found = [item.details["changes"] for item in happened if item.name is Transition.CALL_CHANGED and item.details]
    assert found == ([changed] if changed else [])


def test_a_post_call_that_comes_late_fills_in_and_changes_nothing() -> None:
    """What it adds was so when the call ended."""
    modified = an_event(1, Kind.CALL_MODIFIED, {**ANSWERED, "changes": ["tags"], "tags": ["vip"]})
    late = an_event(2, Kind.POST_CALL, {**ANSWERED, "campaign": "spring", "tags": ["vip"]})

    assert names(modified, late)[1] == []


def test_a_revised_outcome_is_corrected_and_told_anew() -> None:
    """From what to what, and the new outcome's own transition."""
    obj, _ = after([an_event(1, Kind.POST_CALL, MISSED)])
    obj, happened = after([an_event(2, Kind.CALL_MODIFIED, ANSWERED)], obj)

    assert obj.outcome is Outcome.ANSWERED
    assert [item.name for item in happened] == [
        Transition.CALL_CORRECTED,
        Transition.CALL_ANSWERED,
        Transition.CALL_CHANGED,
    ]
    assert happened[0].details == {
        "was_outcome": "missed",
        "changes": ["outcome", "answered", "call_type"],
        "$before": {"answered": False, "call_type": "missed"},
    }


def test_each_revision_is_corrected_and_an_outcome_is_told_once() -> None:
    """Missed, answered and missed again: two corrections, and no second message of a missed call."""
    events = [an_event(1, Kind.POST_CALL, MISSED)]
    events += [an_event(number, Kind.CALL_MODIFIED, told) for number, told in ((2, ANSWERED), (3, MISSED))]

    assert names(*events)[2] == [Transition.CALL_CORRECTED, Transition.CALL_CHANGED]


def test_an_outcome_that_was_unknown_is_told_and_not_corrected() -> None:
    """Nothing untrue was said."""
    unknown = an_event(1, Kind.POST_CALL, {"duration": 40})

    assert Transition.CALL_CORRECTED not in names(unknown, an_event(2, Kind.CALL_MODIFIED, MISSED))[1]


@pytest.mark.parametrize("first", [Kind.POST_CALL, Kind.CALL_MODIFIED])
def test_what_the_api_told_does_not_revise_a_webhooks_outcome(first: Kind) -> None:
    """It may have been asked too early; a webhook revises what it told."""
    webhook, api = an_event(1, first, MISSED), an_event(2, Kind.API_CALL, ANSWERED)

    assert after([webhook, api])[0].outcome is Outcome.MISSED
    assert after([api, replace(webhook, id=an_event(3, first, {}).id)])[0].outcome is Outcome.MISSED


def test_a_newer_answer_of_the_api_revises_an_older_one() -> None:
    """Asked once more after the call had really ended."""
    early, later = an_event(1, Kind.API_CALL, MISSED), an_event(2, Kind.API_CALL, ANSWERED)

    assert after([early, later])[0].outcome is Outcome.ANSWERED


def test_opinions_of_the_api_overrule_by_receipt() -> None:
    """Law 3: an API re-read overrules, and is overruled by what is received later."""
    post = an_event(1, Kind.POST_CALL, {"tags": ["a"]})
    read = an_event(2, Kind.API_CALL, {"tags": ["b"]})
    modified = an_event(3, Kind.CALL_MODIFIED, {"tags": None})

    assert after([read, post])[0].fields["tags"] == ["b"]
    assert after([modified, read, post])[0].fields["tags"] is None


def test_spam_is_told_once() -> None:
    """Marked, unmarked and marked again."""
    events = [an_event(1, Kind.POST_CALL, {**MISSED, "spam": False})]
    events += [
        an_event(n, Kind.CALL_MODIFIED, {**MISSED, "spam": spam}) for n, spam in ((2, True), (3, False), (4, True))
    ]

    every = names(*events)
    assert every[1] == [Transition.CALL_SPAM, Transition.CALL_CHANGED]
    assert [Transition.CALL_SPAM in happened for happened in every] == [False, True, False, False]


@pytest.mark.parametrize(
    ("field", "value", "transition"),
    [
        ("recording", "https://app.example/recording", Transition.CALL_RECORDING_READY),
        ("transcription", "Hello?", Transition.CALL_TRANSCRIPT_READY),
        ("conversational_transcript", [{"speaker": "caller", "phrase": "Hello?"}], Transition.CALL_TRANSCRIPT_READY),
    ],
)
@pytest.mark.parametrize(
    "kinds", [(Kind.POST_CALL, Kind.CALL_MODIFIED), (Kind.OUTBOUND_POST_CALL, Kind.OUTBOUND_CALL_MODIFIED)]
)
def test_what_comes_late_is_ready_once(
    field: str, value: Any, transition: Transition, kinds: tuple[Kind, Kind]
) -> None:
    """With the post-call if it was there by then, else with the first modified call that tells it."""
    ended, modified = kinds
    without, with_it = {**ANSWERED, field: None}, {**ANSWERED, field: value}

    assert transition in names(an_event(1, ended, with_it))[0]
    late = names(
        an_event(1, ended, without), an_event(2, modified, with_it), an_event(3, modified, {**with_it, "note": "x"})
    )
    assert [transition in happened for happened in late] == [False, True, False]


# --- the other kinds -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "outcome", "happened"),
    [
        ({"answered": True}, Outcome.ANSWERED, [Transition.OUTBOUND_ANSWERED]),
        ({"answered": False, "voicemail": True}, Outcome.UNANSWERED, [Transition.OUTBOUND_UNANSWERED]),
        ({"duration": 20}, Outcome.UNKNOWN, []),
    ],
)
def test_an_outbound_call_is_answered_or_not(fields: Fields, outcome: Outcome, happened: list[Transition]) -> None:
    """It never is a missed call of ours, and nothing is said where nothing is told."""
    obj, told_of_it = after([an_event(1, Kind.OUTBOUND_POST_CALL, {**fields, "direction": "outbound"})])

    assert (obj.stage, obj.outcome) == (Stage.ENDED, outcome)
    assert [item.name for item in told_of_it] == happened


def test_an_outbound_call_that_is_modified_has_changed() -> None:
    """With before and after, like an inbound one."""
    ended = an_event(1, Kind.OUTBOUND_POST_CALL, {"answered": True, "note": None})
    changed = last(ended, an_event(2, Kind.OUTBOUND_CALL_MODIFIED, {"answered": True, "note": "quoted"}))

    assert changed == Happened(Transition.OUTBOUND_CHANGED, details={"changes": ["note"], "$before": {"note": None}})


def test_the_voice_assistant_answers_a_call_that_goes_on() -> None:
    """Its webhook tells of the call: that is put through, and nothing else is known by it."""
    events = [an_event(1, Kind.PRE_CALL, RINGING), an_event(2, Kind.VOICE_ASSIST, {"call_id": "CAL1"})]

    obj, happened = after(events)

    assert (obj.stage, obj.outcome) == (Stage.ROUTED, None)
    assert [item.name for item in happened] == [Transition.CALL_RINGING, Transition.ASSIST_ANSWERED]


def test_a_text_the_api_tells_is_received_or_sent() -> None:
    """By its direction."""
    assert names(an_event(1, Kind.API_TEXT, {"direction": "outgoing"})) == [[Transition.TEXT_SENT]]
    assert names(an_event(1, Kind.API_TEXT, {"direction": "incoming"})) == [[Transition.TEXT_RECEIVED]]


def test_an_older_equal_body_is_applied_and_known_to_be_seen_before() -> None:
    """A -> B -> A: the third is news, and says that its body is not new."""
    on = an_event(1, Kind.CALL_MODIFIED, {"tags": ["x"]})
    off = an_event(2, Kind.CALL_MODIFIED, {"tags": None})
    obj, _ = after([on, off])

    assert is_seen_before(obj, replace(on, id=an_event(3, Kind.CALL_MODIFIED, {}).id))
    assert not is_seen_before(obj, an_event(3, Kind.CALL_MODIFIED, {"tags": ["y"]}))
    assert not is_seen_before(obj, replace(on, kind=Kind.POST_CALL))
