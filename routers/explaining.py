"""Why each rule did what it did of one thing that happened: what the rules say of it, and beside it what was stored.

Pure: whoever asks has read the rows and the file, and prints what comes of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from callrail.kinds import Kind
from callrail.payload import Fields
from routers.facts import facts_in_time, facts_of, own_time, zone_of
from routers.hours import in_zone
from routers.lifecycle import Event, Happened, Object, apply
from routers.objects import identity_of
from routers.rules.conditions import Facts, Show, as_found
from routers.rules.reasons import Reason, reason_of, sentence_of
from routers.rules.ruleset import Explanation, RuleSet, Send, nearest
from routers.transitions import Transition

UNMATCHED_RULE = Reason.UNMATCHED.value  # what the deliveries of `unmatched:` have for a rule


# --- what is explained -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """A stored delivery, as far as it explains something."""

    id: str
    rule: str
    sink: str
    state: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """What was kept of a transition when it was routed. *spoken*: by rule, where it spoke of the object before."""

    verdicts: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None
    rules_hash: str | None = None
    deliveries: Sequence[Told] = ()
    spoken: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Happening:
    """One transition of a company, with the facts of then; *facts* is None where they are not stored.

    *local* is the thing's own time in the company's zone, None if no zone is known. *stored* is None for what is only
    supposed, like the webhook in a file.
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
    are the conditions that keep it silent, in words. *then* is the stored reason, None where nothing is stored.
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
class Why:
    """One transition explained. *nobody* says why nobody was told of it then, None if somebody was or will be."""

    happening: Happening
    rules: Sequence[RuleWhy]
    nearest: str | None = None
    unmatched: str | None = None
    unmatched_deliveries: Sequence[Told] = ()
    nobody: str | None = None
    near: Sequence[Looking] = ()
    rules_changed: bool | None = None


def explain(rules: RuleSet, happenings: Sequence[Happening], *, show: Show = as_found) -> list[Why]:
    """Each of *happenings*, the transitions of one object in their order, explained by *rules*.

    Args:
        show: How a value found of a field reads; masks what is personal.
    """
    spoken: dict[str, str] = {}
    explained = []
    for happening in happenings:
        if happening.stored is not None:
            spoken = {**happening.stored.spoken, **spoken}
        why = _explain(rules, happening, spoken, show)
        explained.append(why)
        spoken |= {rule.rule: happening.name.value for rule in why.rules if rule.fired and rule.rule not in spoken}
    return explained


def _explain(rules: RuleSet, happening: Happening, spoken: Mapping[str, str], show: Show) -> Why:
    stored = happening.stored
    now: list[Explanation] = []
    if happening.facts is not None and not happening.is_superseded:
        now = rules.explain(happening.company, happening.name, happening.facts, local=happening.local, show=show)
    looked = [
        *(_of_rule(rules, happening, one, spoken) for one in now),
        *_gone(rules, happening, {x.rule.id for x in now}),
    ]
    has_matched = any(one.fired or one.reason == Reason.MUTED.value for one in now)
    return Why(
        happening,
        rules=looked,
        nearest=None if has_matched else _nearest(now),
        unmatched=None if happening.is_superseded else _unmatched(rules, happening, has_matched, spoken),
        unmatched_deliveries=[told for told in stored.deliveries if told.rule == UNMATCHED_RULE] if stored else (),
        nobody=nobody_of(stored, is_superseded=happening.is_superseded) if stored else None,
        near=() if now or happening.facts is None or happening.is_superseded else list(_near(rules, happening)),
        rules_changed=stored.rules_hash != rules.hash if stored and stored.rules_hash else None,
    )


# --- rules -----------------------------------------------------------------------------------------------------------


def _of_rule(rules: RuleSet, happening: Happening, explanation: Explanation, spoken: Mapping[str, str]) -> RuleWhy:
    rule = explanation.rule
    ids = (rule.id, *rule.previous)
    before = next((spoken[id_] for id_ in ids if id_ in spoken), None) if rule.speaks_once else None
    has_fired = explanation.fired
    return RuleWhy(
        rule.id,
        rule.name,
        fired=has_fired,
        reason=explanation.reason,
        sentence=in_words(explanation.reason),
        misses=explanation.misses,
        findings=[f"{asked.under} {asked.finding.sentence}" for asked in explanation.asked],
        sends=rules.sends_of(rule, happening.company) if has_fired else (),
        note=f"it has spoken of this {_sort(happening)} at {before}, and it speaks once"
        if has_fired and before
        else None,
        **_then(happening.stored, ids),
    )


def _gone(rules: RuleSet, happening: Happening, looking: set[str]) -> Iterator[RuleWhy]:
    """Rules that have a stored verdict and do not look at this any more."""
    if happening.stored is None:
        return
    looking |= {old for rule in rules.rules if rule.id in looking for old in rule.previous}
    known = {rule.id for rule in rules.rules}
    for rule in happening.stored.verdicts:
        if rule not in looking and rule != UNMATCHED_RULE:
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


_SORTS = {"call": "call", "outbound": "call", "text": "text", "form": "form", "assist": "call"}


# --- nobody, everyone else -------------------------------------------------------------------------------------------


def _unmatched(rules: RuleSet, happening: Happening, has_matched: bool, spoken: Mapping[str, str]) -> str | None:
    """What `unmatched` does with it, in a sentence; None if it has nothing to say of such a transition."""
    to = rules.unmatched_at(happening.name)
    if to is None or happening.facts is None:
        return None
    if has_matched:
        return "It is not asked, because a rule has spoken."
    others = [name for rule, name in spoken.items() if rule != UNMATCHED_RULE]
    if others:
        return f"It is not asked, because a rule has spoken of this {_sort(happening)} at {others[0]}."
    if UNMATCHED_RULE in spoken:
        return f"It has told of this {_sort(happening)} at {spoken[UNMATCHED_RULE]}, and it tells once."
    send = rules.unmatched(happening.company, happening.name)
    if send is None:
        return f"No rule fires, and {happening.company} has no sink for the role {to.name}."
    role = f" (role {send.role})" if send.role else ""
    return f"No rule fires, so it goes to {send.sink}{role}."


def nobody_of(stored: Stored, *, is_superseded: bool = False) -> str | None:
    """Why nobody was told of a transition, as a sentence; None if somebody was."""
    if stored.deliveries:
        return None
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


def supposed(
    rules: RuleSet, company: str, kind: Kind, fields: Fields, *, received_at: datetime, told_zones: Mapping[str, str]
) -> list[Happening]:
    """What a webhook would bring about, were it the first that is told of its call, text or form."""
    type_, _ = identity_of(kind, fields, "")
    obj, happened = apply(Object(), Event("ev_", kind, fields, ""))
    known = facts_of(company, type_, obj.fields, obj.outcome, obj.stage.name.lower())
    occurred_at = own_time(known) or received_at
    local = in_zone(occurred_at, zone_of(rules, company, known, told_zones))

    def happening(item: Happened) -> Happening:
        facts = facts_in_time(
            rules,
            company,
            {**known, **(item.details or {})},
            occurred_at=occurred_at,
            received_at=received_at,
            told_zones=told_zones,
        )
        return Happening(item.name, company, facts, occurred_at, local, item.superseded)

    return [happening(item) for item in happened]
