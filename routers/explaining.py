"""Why each rule did what it did of one thing that happened: what the rules say of it, and beside it what was stored.

The verdicts are those of `routers.deciding`, by which events are routed; here they are put into words. Whoever asks has
read the rows and the file, and prints what comes of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from callrail.kinds import FROM_API, Kind
from callrail.payload import Fields
from routers.deciding import UNMATCHED, Decider, Occasion, Spoken, failing_sink
from routers.deciding import Looking as LookingUp
from routers.facts import facts_in_time, facts_of, own_time, zone_of
from routers.hours import in_zone
from routers.lifecycle import Event, Happened, Object, apply
from routers.objects import TransitionRow, identity_of
from routers.outbox import NewDelivery
from routers.rules.answers import LOOKED_UP, LOOKUP
from routers.rules.conditions import Facts, Show, as_found
from routers.rules.reasons import Reason, has_matched, reason_of, sentence_of
from routers.rules.ruleset import Explanation, RuleSet, Send, nearest
from routers.schema import TransitionState
from routers.transitions import Transition

# --- what is explained -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """A stored delivery, as far as it explains a transition.

    *made_for* is the transition that it was made for, *tells* the one that it tells since an outcome was corrected;
    each is None where it is the very one that is explained.
    """

    id: str
    rule: str
    sink: str
    state: str
    reason: str | None = None
    made_for: str | None = None
    tells: str | None = None

    @property
    def note(self) -> str | None:
        """In words, that it turned from one transition to another; None if it did not."""
        if self.made_for is None and self.tells is None:
            return None
        return f"made for {self.made_for or 'this'}, tells {self.tells or 'this'} since the outcome was corrected"


@dataclass(frozen=True, slots=True)
class Stored:
    """What was kept of a transition when it was routed, and who was told of it."""

    verdicts: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None
    rules_hash: str | None = None
    deliveries: Sequence[Told] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """A transition as it is stored."""

    id: str
    name: Transition
    occurred_at: datetime
    stored: Stored
    is_superseded: bool = False


@dataclass(frozen=True, slots=True)
class Telling:
    """That a rule made a delivery for one of its sends, at the transition *name*."""

    rule: str
    send: str
    name: str


@dataclass(frozen=True, slots=True)
class Past:
    """What was done of an object before. *matched_at* is the first transition of which a rule had its say, if any."""

    told: Sequence[Telling] = ()
    matched_at: str | None = None


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An event and what it brought about, or would.

    *occasion* is None where it is not stored what was known then. *kept* are the stored transitions, one for each of
    *happened*; empty for what is only supposed, like the webhook in a file.
    """

    company: str
    occasion: Occasion | None
    happened: Sequence[Happened] = ()
    kept: Sequence[Kept] = ()
    past: Past = field(default_factory=Past)


@dataclass(frozen=True, slots=True)
class Happening:
    """One transition of a company, with the facts of then; *facts* is None where they are not stored.

    *local* is the thing's own time in the company's zone, None if no zone is known. *stored* is None for what is only
    supposed.
    """

    name: Transition
    company: str
    facts: Facts | None
    occurred_at: datetime
    local: datetime | None = None
    is_superseded: bool = False
    stored: Stored | None = None
    id: str | None = None


# --- what comes of it ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RuleWhy:
    """What one rule says, and what was stored of it.

    *fired* and *reason* are of the rules as they are now: None where the rule does not look at this any more. *misses*
    are the conditions that keep it silent, in words. *sends* are those that it tells; *note* says why it does not tell
    the others. *then* is the stored reason, None where nothing is stored.
    """

    rule: str
    name: str | None
    fired: bool | None
    reason: str | None
    sentence: str
    misses: Sequence[str] = ()
    findings: Sequence[str] = ()
    sends: Sequence[Send] = ()
    note: str | None = None
    then: str | None = None
    then_sentence: str | None = None
    deliveries: Sequence[Told] = ()

    @property
    def is_kept_by_condition(self) -> bool:
        """Whether it is silent for one of the *misses*, and not for something outside its conditions."""
        return self.reason is not None and reason_of(self.reason) in (Reason.IF, Reason.UNLESS)


@dataclass(frozen=True, slots=True)
class Looking:
    """A rule that looks at other transitions of the same sort of object."""

    rule: str
    when: Sequence[str]


@dataclass(frozen=True, slots=True)
class LookedUp:
    """A look-up that was made for a transition.

    *source* is `api`, `cache` or `not_asked`, *age* how old the answer was then, in seconds. *found* reads
    `field value` each; *problem* says why there is nothing.
    """

    name: str
    source: str
    age: float
    found: Sequence[str] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Why:
    """One transition explained.

    *reason* is why these rules tell nobody of it, as it would be stored; None if they tell somebody. *nobody* says why
    nobody was told of it then; None if somebody was or will be.
    """

    happening: Happening
    rules: Sequence[RuleWhy]
    reason: str | None = None
    nearest: str | None = None
    unmatched: str | None = None
    unmatched_deliveries: Sequence[Told] = ()
    nobody: str | None = None
    near: Sequence[Looking] = ()
    looked_up: Sequence[LookedUp] = ()
    rules_changed: bool | None = None


def explain(
    rules: RuleSet,
    occurrence: Occurrence,
    *,
    told_zones: Mapping[str, str],
    show: Show = as_found,
    looking: LookingUp | None = None,
) -> list[Why]:
    """Each transition of *occurrence* explained by *rules*, in the order they happened.

    Args:
        told_zones: By company, the time zone its calls told.
        show: How a value found of a field reads; masks what is personal.
        looking: How what the rules need is looked up, in place of what is stored of it; None if that counts. Empty is
            what cannot be decided yet.
    """
    occasion, past = occurrence.occasion, occurrence.past
    if occasion is None:
        return [_unasked(rules, occurrence.company, kept) for kept in occurrence.kept]
    happened = occurrence.happened if looking is None else map(without_answers, occurrence.happened)
    decided = Decider(rules, told_zones, _spoken_in(past), looking).decide(occasion, happened)
    if decided.waits:
        return []
    told, matched_at = list(past.told), past.matched_at
    explained = []
    for position, transition in enumerate(decided.transitions):
        kept = occurrence.kept[position] if occurrence.kept else None
        made = [item for item in decided.deliveries.values() if item.transition_id == transition.id]
        happening = _happening(rules, occasion, transition, kept, told_zones)
        explained.append(_explain(rules, happening, _Verdict(transition, made, tuple(told), matched_at), show))
        told += [Telling(item.rule, item.send, transition.name) for item in made]
        if any(map(has_matched, (transition.verdicts or {}).values())):
            matched_at = matched_at or transition.name
    return explained


def _spoken_in(past: Past) -> Spoken:
    def spoken(_object_id: str, rules: Collection[str], send: str) -> bool:
        return any(one.rule in rules and one.send == send for one in past.told)

    return spoken


def _happening(
    rules: RuleSet,
    occasion: Occasion,
    transition: TransitionRow,
    kept: Kept | None,
    told_zones: Mapping[str, str],
) -> Happening:
    obj, company = occasion.after, occasion.company
    known = facts_of(company, occasion.type, obj.fields, obj.outcome, obj.stage.name.lower(), transition.details)
    at = transition.occurred_at
    facts = facts_in_time(
        rules, company, known, occurred_at=at, received_at=occasion.received_at, told_zones=told_zones
    )
    return Happening(
        transition.name,
        company,
        facts,
        at,
        in_zone(at, zone_of(rules, company, known, told_zones)),
        transition.state is TransitionState.SUPERSEDED,
        kept.stored if kept is not None else None,
        kept.id if kept is not None else None,
    )


def without_answers(happened: Happened) -> Happened:
    """*happened* as if nothing had been looked up for it."""
    details = {name: value for name, value in (happened.details or {}).items() if name not in (LOOKUP, LOOKED_UP)}
    return happened._replace(details=details or None)


def _unasked(rules: RuleSet, company: str, kept: Kept) -> Why:
    """A transition that no rule can be asked about any more."""
    happening = Happening(kept.name, company, None, kept.occurred_at, None, kept.is_superseded, kept.stored, kept.id)
    return Why(happening, rules=list(_gone(rules, happening, set())), **_then_of(rules, happening))


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What these rules decide of a transition: *made* for it, after what was *told* and *matched_at* before."""

    transition: TransitionRow
    made: Sequence[NewDelivery]
    told: Sequence[Telling]
    matched_at: str | None

    @property
    def of_rules(self) -> Mapping[str, str]:
        return self.transition.verdicts or {}

    def told_at(self, rules: Collection[str], send: str | None = None) -> str | None:
        """Where one of *rules* has spoken before, or has told its *send*; None if it has not."""
        return next((one.name for one in self.told if one.rule in rules and send in (None, one.send)), None)


def _explain(rules: RuleSet, happening: Happening, verdict: _Verdict, show: Show) -> Why:
    asked: list[Explanation] = []
    if not happening.is_superseded:
        facts = happening.facts or {}
        asked = rules.explain(happening.company, happening.name, facts, local=happening.local, show=show)
    is_matched = any(has_matched(verdict.of_rules[one.rule.id]) for one in asked)
    return Why(
        happening,
        rules=[
            *(_of_rule(rules, happening, one, verdict) for one in asked),
            *_gone(rules, happening, {one.rule.id for one in asked}),
        ],
        reason=verdict.transition.reason,
        nearest=None if is_matched else _nearest(asked),
        unmatched=None if happening.is_superseded else _unmatched(rules, happening, verdict, is_matched=is_matched),
        near=() if asked or happening.is_superseded else list(_near(rules, happening)),
        looked_up=list(_looked_up(happening.facts or {}, show)),
        **_then_of(rules, happening),
    )


def _then_of(rules: RuleSet, happening: Happening) -> dict[str, Any]:
    """What is stored of a transition, beside what the rules say now."""
    stored = happening.stored
    if stored is None:
        return {}
    return {
        "unmatched_deliveries": [told for told in stored.deliveries if told.rule == UNMATCHED],
        "nobody": nobody_of(stored, is_superseded=happening.is_superseded),
        "rules_changed": stored.rules_hash != rules.hash if stored.rules_hash else None,
    }


def _looked_up(facts: Facts, show: Show) -> Iterator[LookedUp]:
    answers = facts.get(LOOKUP) or {}
    for name, noted in (facts.get(LOOKED_UP) or {}).items():
        found = [
            f"{field} {show(f'{LOOKUP}.{name}.{field}', value)}"
            for field, value in (answers.get(name) or {}).items()
            if value not in (None, "", [], {})
        ]
        yield LookedUp(name, noted["from"], noted["age"], found, noted.get("problem"))


# --- rules -----------------------------------------------------------------------------------------------------------


def _of_rule(rules: RuleSet, happening: Happening, explanation: Explanation, verdict: _Verdict) -> RuleWhy:
    rule, reason = explanation.rule, verdict.of_rules[explanation.rule.id]
    ids = (rule.id, *rule.previous)
    has_fired = reason_of(reason) is Reason.FIRED
    sentence, before = in_words(reason), verdict.told_at(ids)
    if reason_of(reason) is Reason.ALREADY_TOLD and before:
        sentence = f"It has spoken of this {_sort(happening)} at {before}, and it speaks once."
    made = {item.send for item in verdict.made if item.rule == rule.id}
    sends = rules.sends_of(rule, happening.company)
    failing = failing_sink(happening.name, happening.facts or {})
    silent = [_why_silent(send, verdict.told_at(ids, send.id), failing) for send in sends if send.id not in made]
    return RuleWhy(
        rule.id,
        rule.name,
        fired=has_fired,
        reason=reason,
        sentence=sentence,
        misses=explanation.misses,
        findings=[f"{asked.under} {asked.finding.sentence}" for asked in explanation.asked],
        sends=[send for send in sends if send.id in made],
        note="; ".join(silent) or None if has_fired else None,
        **_then(happening.stored, ids),
    )


def _why_silent(send: Send, told_at: str | None, failing: str | None) -> str:
    """Why a rule that fires does not tell one of its destinations; *failing* is the sink that the news is about."""
    if send.sink == failing:
        return f"not to {send.sink}: it is about this sink"
    why = f"it was told at {told_at}" if told_at else "this happened too long ago for it (max_age or expires)"
    return f"not to {send.sink}: {why}"


def _gone(rules: RuleSet, happening: Happening, looking: set[str]) -> Iterator[RuleWhy]:
    """Rules that have a stored verdict and do not look at this any more."""
    if happening.stored is None:
        return
    looking |= {old for rule in rules.rules if rule.id in looking for old in rule.previous}
    known = {rule.id for rule in rules.rules}
    for rule in happening.stored.verdicts:
        if rule not in looking and rule != UNMATCHED:
            if happening.facts is None:
                sentence = "What was known then is not stored, so the rule cannot be asked again."
            elif rule in known:
                sentence = f"The rule does not look at {happening.name} of {happening.company} any more."
            else:
                sentence = "There is no such rule any more."
            yield RuleWhy(rule, None, None, None, sentence, **_then(happening.stored, (rule,)))


def _then(stored: Stored | None, ids: Sequence[str]) -> dict[str, Any]:
    if stored is None:
        return {}
    verdict = next((stored.verdicts[id_] for id_ in ids if id_ in stored.verdicts), None)
    return {
        "then": verdict,
        "then_sentence": in_words(verdict) if verdict is not None else "It did not look at this then.",
        "deliveries": [told for told in stored.deliveries if told.rule in ids],
    }


def _nearest(explanations: Sequence[Explanation]) -> str | None:
    found = nearest(explanations)
    return f"{found.rule.id} would have fired, but: {'; '.join(found.misses)}" if found is not None else None


def _near(rules: RuleSet, happening: Happening) -> Iterator[Looking]:
    """The rules of the company that look at other transitions of such an object."""
    for rule in rules.rules:
        if rule.companies is None or happening.company in rule.companies:
            when = [
                name.value for name in Transition if name in rule.when and _sort_of(name) == _sort_of(happening.name)
            ]
            if when:
                yield Looking(rule.id, when)


def _sort_of(name: Transition) -> str:
    return name.partition(".")[0]


def _sort(happening: Happening) -> str:
    return _SORTS.get(_sort_of(happening.name), "object")


_SORTS = {
    "call": "call",
    "outbound": "call",
    "text": "text",
    "form": "form",
    "assist": "call",
    "router": "trouble",
    "source": "trouble",
}


# --- nobody, everyone else -------------------------------------------------------------------------------------------


def _unmatched(rules: RuleSet, happening: Happening, verdict: _Verdict, *, is_matched: bool) -> str | None:
    """What `unmatched` does with it, in a sentence; None if it has nothing to say of such a transition."""
    to = rules.unmatched_at(happening.name)
    if to is None:
        return None
    send, decided = rules.unmatched(happening.company, happening.name), verdict.of_rules.get(UNMATCHED)
    if send is not None and decided == Reason.LATE:
        return f"No rule fires, and for {send.sink}, which people read, this happened too long ago."
    if send is not None and decided is not None:
        role = f" (role {send.role})" if send.role else ""
        return f"No rule fires, so it goes to {send.sink}{role}."
    if is_matched:
        return "It is not asked, because a rule has spoken."
    if told_at := verdict.told_at([UNMATCHED]):
        return f"It has told of this {_sort(happening)} at {told_at}, and it tells once."
    if verdict.matched_at:
        return f"It is not asked, because a rule has spoken of this {_sort(happening)} at {verdict.matched_at}."
    if send is None:
        return f"No rule fires, and {happening.company} has no sink for the role {to.name}."
    return "It is not asked, because the text asks for no more texts."


def nobody_of(stored: Stored, *, is_superseded: bool = False) -> str | None:
    """Why nobody was told of a transition, as a sentence; None if somebody was."""
    if any(told.tells is None for told in stored.deliveries):
        return None
    if stored.deliveries:
        return (
            f"The outcome was corrected before this was sent; what was made for it tells {stored.deliveries[0].tells}."
        )
    if stored.reason:
        return in_words(stored.reason)
    if is_superseded:
        return in_words(Reason.SUPERSEDED.value)
    if not stored.verdicts:
        return in_words(Reason.NO_RULE.value)
    if len(stored.verdicts) == 1:
        return in_words(*stored.verdicts.values())
    return "No rule told anybody; each verdict says why."


def in_words(stored: str) -> str:
    """A stored reason as a sentence; one that only another version knows, as it is."""
    try:
        return sentence_of(stored)
    except ValueError:
        return stored


# --- from a webhook --------------------------------------------------------------------------------------------------


def supposed(company: str, kind: Kind, fields: Fields, *, now: datetime) -> Occurrence:
    """What a webhook would bring about as the first of its call, text or form, received when that happened.

    Where it tells no time of its own, it happened *now*.
    """
    type_, _ = identity_of(kind, fields, "")
    obj, happened = apply(Object(), Event("ev_", kind, fields, ""))
    received_at = own_time(obj.fields) or now
    occasion = Occasion(
        company=company,
        type=type_,
        object_id="",
        before=Object(),
        after=obj,
        event_id="",
        received_at=received_at,
        now=received_at,
        is_live=kind not in FROM_API,
    )
    return Occurrence(company, occasion, happened)


def too_late(rules: RuleSet, occurrence: Occurrence, *, now: datetime, told_zones: Mapping[str, str]) -> list[str]:
    """The rules, `unmatched` among them, that would tell less of *occurrence* if it were routed *now*."""
    if occurrence.occasion is None:
        return []
    decider = Decider(rules, told_zones, _spoken_in(occurrence.past))
    at_once = decider.decide(occurrence.occasion, occurrence.happened).deliveries.values()
    later = decider.decide(replace(occurrence.occasion, now=now), occurrence.happened).deliveries.values()
    left = {(item.rule, item.send) for item in later}
    return list(dict.fromkeys(item.rule for item in at_once if (item.rule, item.send) not in left))
