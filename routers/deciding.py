"""Whom to tell: from what happened to transitions with their verdicts, and the deliveries these make necessary."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from receiver.ids import Prefix, new_id
from routers import alarm_events
from routers.amending import Amendment
from routers.corrections import Correction
from routers.facts import facts_in_time, facts_of, number_of, own_time
from routers.lifecycle import EACH_VERSION, INBOUND_OUTCOMES, OUTCOME_TRANSITIONS, Happened, Object, Outcome
from routers.lookups.answers import Answer
from routers.lookups.definitions import About
from routers.messages import Amend
from routers.objects import TransitionRow
from routers.outbox import SPEAKS_OF_BOTH, NewDelivery
from routers.rules.answers import LOOKED_UP, LOOKUP
from routers.rules.needs import Needs
from routers.rules.reasons import Reason, reason_of
from routers.rules.ruleset import DEFAULT_MAX_AGE, Fired, Rule, RuleSet, Send
from routers.schema import TransitionState
from routers.transitions import ALARMS, Transition

UNMATCHED = "unmatched"  # the rule that `unmatched:` is

# Whether a delivery of an object (our id) was made for one of some rules and a send.
Spoken = Callable[[str, Collection[str], str], bool]
# Whether something waits about the one whom an order key names.
HeldUp = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Occasion:
    """An event that was applied to an object: *before* became *after*.

    *object_id* is ours. *is_matched*: a rule has spoken of the object before. *is_live*: the event came when the thing
    happened or was changed, and was not fetched later. *is_echo*: all that it changed we had changed ourselves.
    """

    company: str
    type: str
    object_id: str
    before: Object
    after: Object
    event_id: str
    received_at: datetime
    now: datetime
    is_matched: bool = False
    is_live: bool = True
    seen_before: bool = False
    is_echo: bool = False

    @property
    def order_key(self) -> str:
        """Whom it is about."""
        is_sent = Transition.TEXT_SENT in self.after.told
        return order_key_of(self.company, self.type, self.object_id, self.after.fields, is_sent=is_sent)


@dataclass(slots=True)
class Decided:
    """What is to be written of one occasion.

    *correction* is what becomes of unsent deliveries where the outcome told before proved wrong. *waits*:
    a transition waits for look-ups, and those behind it wait with it.
    """

    is_matched: bool
    waits: bool = False
    transitions: list[TransitionRow] = field(default_factory=list)
    deliveries: dict[str, NewDelivery] = field(default_factory=dict)
    amendments: list[Amendment] = field(default_factory=list)
    correction: Correction | None = None


@dataclass(frozen=True, slots=True)
class Looking:
    """How look-ups are found: what the rules *need*, the answers at hand of some about something, and those without
    which nobody is told (*drops*)."""

    needs: Needs
    find: Callable[[Collection[str], About], Mapping[str, Answer]]
    drops: frozenset[str] = frozenset()


class Decider:
    """Asks the rules.

    Args:
        told_zones: By company, the time zone its calls told.
        spoken: Whether deliveries were made before.
        looking: How look-ups are found; without it none is made, and what is stored of them counts.
        held_up: Behind whom things wait.
    """

    def __init__(
        self,
        rules: RuleSet,
        told_zones: Mapping[str, str],
        spoken: Spoken,
        looking: Looking | None = None,
        held_up: HeldUp = lambda _: False,
    ) -> None:
        self._rules = rules
        self._told_zones = told_zones
        self._spoken = spoken
        self._looking = looking
        self._held_up = held_up

    def decide(self, occasion: Occasion, happened: Iterable[Happened], *, waits: bool = False) -> Decided:
        """The transitions that *happened* are, and whom to tell of them.

        Args:
            waits: Whether an earlier transition of the object waits; then these wait behind it.
        """
        facts = self._facts(occasion)
        happened_at = own_time(facts) or occasion.received_at
        waits = waits or self._held_up(occasion.order_key)
        rows = [_transition(occasion, item, happened_at) for item in happened]
        return self._ask_of(occasion, rows, facts, waits=waits)

    def ask(self, occasion: Occasion, rows: Sequence[TransitionRow], *, waits: bool = False) -> Decided:
        """Whom to tell of transitions of one event, whose rows are completed; or all of them wait for look-ups.

        They are decided together: a correction, and a rule that speaks once, concern more than one of them.
        """
        return self._ask_of(occasion, rows, self._facts(occasion), waits=waits)

    def _ask_of(
        self, occasion: Occasion, rows: Sequence[TransitionRow], facts: dict[str, Any], *, waits: bool
    ) -> Decided:
        decided = Decided(occasion.is_matched, waits, list(rows))
        news = [row for row in rows if row.state is not TransitionState.SUPERSEDED]
        for transition in rows:
            if transition.state is TransitionState.SUPERSEDED:
                is_echo = occasion.is_echo and transition.name in _ECHOED
                transition.reason = (Reason.OWN_ECHO if is_echo else Reason.SUPERSEDED).value
        is_looked_up = self._looking is not None and not waits
        missing = {row.id: self._missing(occasion, row, facts) for row in news} if is_looked_up else {}
        if waits or any(missing.values()):
            decided.waits = True
            for transition in news:
                transition.state, transition.due_at = TransitionState.WAITING, occasion.now
                transition.order_key = occasion.order_key
                transition.reason = Reason.WAITS.about(missing.get(transition.id) or _WITH_OTHERS)
            return decided
        for transition in news:
            if self._rules.is_asked(occasion.company, transition.name):
                self._ask(occasion, transition, decided, {**facts, **(transition.details or {})})
            else:
                transition.rules_hash, transition.verdicts = self._rules.hash, {}
                transition.reason = Reason.NO_RULE.value
        corrected = next((row for row in news if row.name is Transition.CALL_CORRECTED), None)
        if corrected is not None:
            decided.correction = self._correction(occasion, corrected, facts, decided)
        return decided

    def _facts(self, occasion: Occasion) -> dict[str, Any]:
        obj = occasion.after
        return facts_of(occasion.company, occasion.type, obj.fields, obj.outcome, obj.stage.name.lower())

    def _missing(self, occasion: Occasion, transition: TransitionRow, facts: dict[str, Any]) -> str | None:
        """What *transition* waits for, in words; None if it can be decided. Answers at hand are noted on it."""
        names = [transition.name]
        if transition.name is Transition.CALL_CORRECTED:  # for which the rules for the right outcome are asked too
            names.append(_right(occasion))
        return next(
            (missing for name in names if (missing := self._missing_at(occasion, transition, name, facts))), None
        )

    def _missing_at(
        self, occasion: Occasion, transition: TransitionRow, name: Transition, facts: dict[str, Any]
    ) -> str | None:
        looking = self._looking
        if looking is None or not looking.needs.any(occasion.company, name):
            return None
        details = dict(transition.details or {})
        answers, noted = dict(details.get(LOOKUP) or {}), dict(details.get(LOOKED_UP) or {})
        known = self._in_time(occasion, transition, {**facts, **details})
        while wanted := looking.needs.missing(occasion.company, name, known, noted):
            found = looking.find(wanted, About(occasion.company, known, occasion.received_at))
            for lookup, answer in found.items():
                noted[lookup] = answer.noted(occasion.now)
                if answer.problem is not None and lookup in looking.drops:
                    noted[lookup]["drops"] = True
                if answer.fields is not None:
                    answers[lookup] = answer.fields
            known[LOOKUP] = answers
            if missing := wanted - found.keys():
                return ", ".join(sorted(missing))
        if noted:
            transition.details = {**details, LOOKUP: answers, LOOKED_UP: noted}
        return None

    def _ask(self, occasion: Occasion, transition: TransitionRow, decided: Decided, facts: dict[str, Any]) -> None:
        """Let each rule that looks at *transition* have its say, and note it."""
        rules, name = self._rules, Transition(transition.name)
        facts = self._in_time(occasion, transition, facts)
        if "hours" in facts:
            transition.details = {**(transition.details or {}), "hours": facts["hours"]}
        decision = rules.decide(occasion.company, name, facts)
        transition.rules_hash, transition.verdicts = rules.hash, decision.reasons
        made = 0
        for fired in decision.fired:
            if lost := self._lost(transition, fired.rule):
                decision.reasons[fired.rule.id] = Reason.NO_ANSWER.about(lost)
                continue
            told, instead = self._deliveries(occasion, transition, decided, fired)
            made += told
            if instead is not None:
                decision.reasons[fired.rule.id] = instead
        decided.is_matched = decided.is_matched or decision.is_matched
        is_news = not decided.is_matched and not _is_opt_out(facts, name)
        unmatched = self._unmatched(occasion, transition, name) if is_news else None
        if unmatched is not None:
            decided.is_matched = True
            is_late = unmatched.expires_at is not None and unmatched.expires_at <= occasion.now
            decision.reasons[UNMATCHED] = (Reason.LATE if is_late else Reason.UNMATCHED).value
            if not is_late:
                decided.deliveries[unmatched.key] = unmatched
                return
        if not made:
            transition.reason = _why_nobody(decision.reasons.values())

    def _lost(self, transition: TransitionRow, rule: Rule) -> str | None:
        """A failed look-up without which *rule* does not speak of *transition*; None if it may."""
        noted = (transition.details or {}).get(LOOKED_UP) or {}
        lost = {name for name, about in noted.items() if about.get("drops")}
        if not lost:
            return None
        needs = self._looking.needs if self._looking is not None else Needs(self._rules)
        shown = needs.of_messages(rule, transition.company, transition.name)
        return next(iter(sorted(lost & shown)), None)

    def _in_time(self, occasion: Occasion, transition: TransitionRow, facts: dict[str, Any]) -> dict[str, Any]:
        return facts_in_time(
            self._rules,
            occasion.company,
            facts,
            occurred_at=transition.occurred_at,
            received_at=occasion.received_at,
            told_zones=self._told_zones,
        )

    def _unmatched(self, occasion: Occasion, transition: TransitionRow, name: Transition) -> NewDelivery | None:
        """What `unmatched` has to tell of *name*. Like a rule that says nothing else, it tells people no old news."""
        send = self._rules.unmatched(occasion.company, name)
        if send is None:
            return None
        expires_at = transition.occurred_at + DEFAULT_MAX_AGE if send.sink in self._rules.for_people else None
        key = f"{transition.object_id}:{UNMATCHED}:{send.id}:0"
        return self._delivery(occasion, transition, UNMATCHED, send, expires_at, key)

    def _correction(
        self, occasion: Occasion, transition: TransitionRow, facts: dict[str, Any], decided: Decided
    ) -> Correction:
        """What becomes of unsent deliveries. The new outcome may have been told before, so the rules are asked anew."""
        right = _right(occasion)
        facts = {**facts, LOOKUP: (transition.details or {}).get(LOOKUP) or {}}
        decision = self._rules.decide(occasion.company, right, self._in_time(occasion, transition, facts))
        unmatched = None if decision.is_matched else self._unmatched(occasion, transition, right)
        once = [
            key
            for fired in decision.fired
            if fired.rule.speaks_once
            for send in fired.send
            for key in _keys(transition, fired.rule, send)
            if key not in decided.deliveries  # which this very event brought about
        ]
        keys = (*once, *([unmatched.key] if unmatched else ()))
        if keys:  # for one that is being sent now, should it have to be sent again
            transition.details = {**(transition.details or {}), SPEAKS_OF_BOTH: list(keys)}
        return Correction(
            object_id=occasion.object_id,
            wrong=INBOUND_OUTCOMES[occasion.before.outcome or Outcome.MISSED],
            right=right,
            transition_id=transition.id,
            amending=self._rules.amending_of,
            retold=frozenset((item.news.rule, item.news.send) for item in decided.amendments),
            keys=keys,
            unmatched=unmatched,
        )

    def _deliveries(
        self, occasion: Occasion, transition: TransitionRow, decided: Decided, fired: Fired
    ) -> tuple[int, str | None]:
        """Add to *decided* what a rule that fired has to tell.

        Returns how many are told, and the reason that stands in place of "fired" if no message is made, or only such as
        amend an earlier one, or if the sink is left out that the message is about.
        """
        made = amended = 0
        silent = Reason.LATE
        failing = failing_sink(transition.name, occasion.after.fields)
        for send in fired.send:
            if send.sink == failing:
                silent = Reason.ABOUT_ITSELF
                continue
            expires_at = self._expires_at(fired.rule, send, transition.occurred_at)
            if expires_at is not None and expires_at <= occasion.now:
                continue
            if not (fired.rule.speaks_once and self._has_spoken(occasion, decided, fired.rule, send)):
                key = _keys(transition, fired.rule, send)[0]
                decided.deliveries[key] = self._delivery(occasion, transition, fired.rule.id, send, expires_at, key)
                made += 1
                continue
            how = self._rules.amending(send.sink, send.amend)
            if how.mode is Amend.SILENT:
                silent = Reason.ALREADY_TOLD
                continue
            new = self._delivery(occasion, transition, fired.rule.id, send, expires_at)
            decided.amendments.append(Amendment(new, (fired.rule.id, *fired.rule.previous), how))
            amended += 1
        if made:
            left_out = failing is not None and any(send.sink == failing for send in fired.send)
            return made + amended, Reason.FIRED.about(f"(not through {failing})") if left_out else None
        return amended, (Reason.AMENDS if amended else silent).value

    def _delivery(
        self,
        occasion: Occasion,
        transition: TransitionRow,
        rule: str,
        send: Send,
        expires_at: datetime | None,
        key: str | None = None,
    ) -> NewDelivery:
        """A delivery under *key*, or under one of the transition's own."""
        how = self._rules.amending(send.sink, send.amend)
        return NewDelivery(
            key=key or f"{transition.id}:{rule}:{send.id}:0",
            transition_id=transition.id,
            object_id=transition.object_id,
            company=transition.company,
            rule=rule,
            send=send.id,
            sink=send.sink,
            template=send.template,
            expires_at=expires_at,
            order_key=occasion.order_key,
            amend=how.mode if how.tells_all else None,
        )

    def _has_spoken(self, occasion: Occasion, decided: Decided, rule: Rule, send: Send) -> bool:
        """Whether a rule that speaks once an object has spoken: in this transaction or in an earlier one.

        Asked by the rule's ids and not by its keys: those change with the number of transitions it looks at.
        """
        ids = (rule.id, *rule.previous)
        if any(item.rule in ids and item.send == send.id for item in decided.deliveries.values()):
            return True
        return occasion.before.version > 0 and self._spoken(occasion.object_id, ids, send.id)

    def _expires_at(self, rule: Rule, send: Send, occurred_at: datetime) -> datetime | None:
        """After when nobody wants to hear of it; None if that is never."""
        oldest = self._rules.oldest(rule, send)
        return occurred_at + oldest if oldest is not None else None


_WITH_OTHERS = "what comes before it or with it"


def _right(occasion: Occasion) -> Transition:
    """The outcome that is told in place of an earlier one."""
    return INBOUND_OUTCOMES[occasion.after.outcome or Outcome.MISSED]


def failing_sink(name: Transition, facts: Mapping[str, Any]) -> str | None:
    """The sink that fails, of which *name* tells; None if it tells of none. Nothing of it is sent through that sink."""
    return facts.get("sink") if name in ALARMS and name is not Transition.ROUTER_RECOVERED else None


# What an ended call brings about when it ends; all else comes of it later, at the time we are told.
_AT_THE_END = frozenset(
    {Transition.CALL_RINGING, Transition.CALL_ROUTED, Transition.CALL_ENDED, *OUTCOME_TRANSITIONS}
    | {Transition.TEXT_RECEIVED, Transition.TEXT_SENT, Transition.FORM_SUBMITTED, Transition.ASSIST_ANSWERED}
    | {Transition.ASSIST_COMPLETED, Transition.UNKNOWN_RECEIVED}
)


# By which CallRail tells of a change.
_ECHOED = frozenset({Transition.CALL_CHANGED, Transition.OUTBOUND_CHANGED, Transition.CALL_SPAM})


def _transition(occasion: Occasion, item: Happened, happened_at: datetime) -> TransitionRow:
    details = {**(item.details or {}), **({"seen_before": True} if occasion.seen_before else {})}
    # What a webhook says has changed has changed now, though it may be the first we hear of the call.
    is_known = bool(occasion.before.told) or item.name in EACH_VERSION
    is_later = occasion.is_live and item.name not in _AT_THE_END and is_known
    is_superseded = item.superseded or (occasion.is_echo and item.name in _ECHOED)
    return TransitionRow(
        id=new_id(Prefix.TRANSITION),
        object_id=occasion.object_id,
        company=occasion.company,
        name=item.name,
        n=occasion.after.version if item.name in EACH_VERSION else item.n,
        event_id=occasion.event_id,
        occurred_at=occasion.received_at if is_later else happened_at,
        created_at=occasion.now,
        state=TransitionState.SUPERSEDED if is_superseded else TransitionState.ROUTED,
        version=occasion.after.version,
        details=details or None,
    )


def _keys(transition: TransitionRow, rule: Rule, send: Send) -> list[str]:
    """The idempotency key of *send*, then those it had under earlier ids of the rule."""
    about = transition.object_id if rule.speaks_once else transition.id
    return [f"{about}:{rule_id}:{send.id}:0" for rule_id in (rule.id, *rule.previous)]


def order_key_of(company: str, type_: str, object_id: str, fields: Mapping[str, Any], *, is_sent: bool) -> str:
    """Whom an object (our id) is about: their number, which every webhook of a call tells; else the person; else the
    thing. An alarm is about what is in trouble.

    Args:
        is_sent: Whether it is a text that was sent to them.
    """
    if type_ in alarm_events.TYPES:
        return f"{company}:{fields.get('subject')}"
    number = number_of(type_, fields, is_sent=is_sent)
    return f"{company}:{number or fields.get('person_resource_id') or object_id}"


# The best reason first: what would have told somebody and did not says more than a condition that failed.
_TELLING = (
    Reason.AMENDS,
    Reason.ABOUT_ITSELF,
    Reason.ALREADY_TOLD,
    Reason.MUTED,
    Reason.LATE,
    Reason.NO_ANSWER,
    Reason.NO_ROLE,
    Reason.OPT_OUT,
)


def _why_nobody(reasons: Collection[str]) -> str:
    if not reasons:
        return Reason.NO_RULE.value
    found = {reason_of(reason) for reason in reasons}
    best = next((reason for reason in _TELLING if reason in found), Reason.NONE_FIRED)
    if best is Reason.NO_ANSWER:  # which says of what
        return next(stored for stored in reasons if reason_of(stored) is best)
    return best.value


def _is_opt_out(facts: Mapping[str, Any], name: Transition) -> bool:
    return name is Transition.TEXT_RECEIVED and facts.get("opt_out") is True
