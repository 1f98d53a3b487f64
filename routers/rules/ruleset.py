"""A rule set: for one thing that happened, a reason a rule, and whom to tell. Every matching rule fires."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from routers.hours import Schedule
from routers.messages import Amend
from routers.rules.answers import Answers
from routers.rules.conditions import Condition, Facts, Finding, Show, as_found
from routers.rules.reasons import Reason, reason_of
from routers.transitions import Transition, template_name

DEFAULT_MAX_AGE = timedelta(hours=24)
FIRED = Reason.FIRED.value  # plain text, as it is stored
MUTED = Reason.MUTED.value


_SHARED = 2  # a condition that more rules than this ask is answered once for all of them


class OnLate(StrEnum):
    """What becomes of a message about something that happened longer ago than the rule's max_age."""

    DELIVER = "deliver"
    RECORDS_ONLY = "records_only"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Amending:
    """How later news amends the first message of a thing.

    *tells_all*: an amendment tells the whole story, so that news which come together are one. *most*: so many follow
    the first message; None for as many as there are. *apart*: how long after one edit the next may be sent.
    """

    mode: Amend
    tells_all: bool = False
    most: int | None = None
    # Readers see a message move; and a destination that is asked to edit all the time says no.
    apart: timedelta = timedelta(seconds=5)


NOT_AMENDED = Amending(Amend.SILENT)


@dataclass(frozen=True, slots=True)
class Send:
    """One destination of a rule. *id* tells two sends of a rule apart, and stays when its role gets another sink.

    *template* is None for the transition's own. *expires* is how long after the transition it is still worth sending.
    *amend* is None for what the sink does by itself.
    """

    id: str
    sink: str
    role: str | None = None
    template: str | None = None
    expires: timedelta | None = None
    amend: Amend | None = None


@dataclass(frozen=True, slots=True)
class To:
    """A destination as it is written: *name* is a sink or, if *is_role*, what each company calls one of them."""

    id: str
    name: str
    is_role: bool = False
    template: str | None = None
    expires: timedelta | None = None
    amend: Amend | None = None

    def resolve(self, roles: Mapping[str, str]) -> Send | None:
        """The destination for a company with *roles*; None if it has no such role."""
        sink = roles.get(self.name) if self.is_role else self.name
        role = self.name if self.is_role else None
        return Send(self.id, sink, role, self.template, self.expires, self.amend) if sink else None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, compiled. *companies* is None for all; *previous* are ids it had before;
    *lookups* are those that its messages need beside what their templates name.

    Of *conditions* all must hold; one of *exceptions* that holds is enough to keep the rule silent. *stop*: when it
    fires, no later rule does. *mute*: what it says is recorded, and nobody is told.
    """

    id: str
    companies: frozenset[str] | None
    when: frozenset[Transition]
    conditions: tuple[Condition, ...]
    exceptions: tuple[Condition, ...]
    send: tuple[To, ...]
    name: str | None = None
    previous: tuple[str, ...] = ()
    lookups: tuple[str, ...] = ()
    stop: bool = False
    repeat: bool = False
    mute: bool = False
    on_late: OnLate = OnLate.RECORDS_ONLY
    max_age: timedelta = DEFAULT_MAX_AGE

    @property
    def speaks_once(self) -> bool:
        """A rule that looks at several transitions speaks once an object, unless it is to repeat itself."""
        return len(self.when) > 1 and not self.repeat

    def asks(self, name: str) -> bool:
        """Whether a condition of it asks about the field *name*."""
        return any(name in test.fields for test in (*self.conditions, *self.exceptions))

    def looks_at(self, company: str, transition: Transition) -> bool:
        return transition in self.when and (self.companies is None or company in self.companies)


@dataclass(frozen=True, slots=True)
class Shown:
    """The look-ups that messages show: by template, and by sink for those whose settings are templates."""

    by_template: Mapping[str, frozenset[str]] = field(default_factory=dict)
    by_sink: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def by(self, rule: Rule, send: Collection[Send], transition: Transition) -> frozenset[str]:
        """Those that *rule* names, and those that its messages to *send* show."""
        return frozenset(rule.lookups).union(
            *(self.by_template.get(one.template or template_name(transition), frozenset()) for one in send),
            *(self.by_sink.get(one.sink, frozenset()) for one in send),
        )


@dataclass(frozen=True, slots=True)
class Fired:
    """A rule that fired, and its destinations in the company; never empty."""

    rule: Rule
    send: tuple[Send, ...]


@dataclass(slots=True)
class Decision:
    """What the rules say of one transition.

    *reasons* has each rule that looks at it, by its id and in file order; *fired* those that tell somebody.
    """

    reasons: dict[str, str]
    fired: list[Fired]

    @property
    def is_matched(self) -> bool:
        """Whether a rule had its say, be it a muted one; if none had, `unmatched` is asked."""
        return bool(self.fired) or MUTED in self.reasons.values()


@dataclass(frozen=True, slots=True)
class Asked:
    """A finding of a condition under `if` or `unless`. *keeps_silent*: because of it the rule did not fire."""

    under: Reason
    finding: Finding
    keeps_silent: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one rule did what it did: *reason* as it is stored, and everything it asked."""

    rule: Rule
    reason: str
    asked: tuple[Asked, ...]

    @property
    def fired(self) -> bool:
        return reason_of(self.reason) is Reason.FIRED

    @property
    def misses(self) -> tuple[str, ...]:
        """In words, what else would have had to be; empty if every condition was right."""
        return tuple(f"{asked.under} {asked.finding.sentence}" for asked in self.asked if asked.keeps_silent)


_Holds = Callable[[Facts], bool]


@dataclass(frozen=True, slots=True)
class _Looking:
    """A rule made ready for one company: its tests, and each outcome prepared.

    A test is a closure, what it must give, the reason if it does not, and whether other rules ask the very same: its
    answer is then kept while one transition is decided. (For 100 rules of six conditions that share half of them, 53
    us instead of 75; keeping every answer costs 107 where nothing is shared.)
    """

    rule: Rule
    tests: tuple[tuple[_Holds, bool, str, bool], ...]
    fired: Fired | None
    reason: str


@dataclass(frozen=True)
class RuleSet:
    """All rules of an installation. *hash* names exactly these rules in stored rows.

    *roles*, *hours* and *zones* are by company; *everyone_else* is `unmatched:`, by the sort of object;
    *for_people* are the sinks that people read; *amends* is, by sink, how it amends; *answers* is what can be
    looked up, *shown* what messages show of it.
    """

    rules: Sequence[Rule]
    hash: str
    roles: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    everyone_else: Mapping[str, To] = field(default_factory=dict)
    hours: Mapping[str, Schedule] = field(default_factory=dict)
    zones: Mapping[str, str] = field(default_factory=dict)
    for_people: frozenset[str] = frozenset()
    amends: Mapping[str, Amending] = field(default_factory=dict)
    shown: Shown = field(default_factory=Shown)
    answers: Answers = field(default_factory=dict)
    _index: dict[tuple[str, Transition], tuple[_Looking, ...]] = field(default_factory=dict, compare=False, repr=False)

    def decide(self, company: str, transition: Transition, facts: Facts) -> Decision:
        """What each rule that looks at *transition* of *company* says, in the order they are written."""
        reasons: dict[str, str] = {}
        fired: list[Fired] = []
        known: dict[_Holds, bool] = {}
        looking = self._looking(company, transition)
        if transition is Transition.TEXT_RECEIVED and facts.get("opt_out") is True:
            # Who asks for no more texts is no news of a lead; a rule that wants it says so.
            reasons = {rule.rule.id: Reason.OPT_OUT.value for rule in looking if not rule.rule.asks("opt_out")}
            looking = tuple(rule for rule in looking if rule.rule.asks("opt_out"))
        for position, rule in enumerate(looking):
            for holds, wanted, reason, is_shared in rule.tests:
                answer = known.get(holds) if is_shared else holds(facts)
                if answer is None:
                    answer = known[holds] = holds(facts)
                if answer is not wanted:
                    reasons[rule.rule.id] = reason
                    break
            else:
                reasons[rule.rule.id] = rule.reason
                if rule.fired is not None:
                    fired.append(rule.fired)
                if rule.rule.stop:
                    stopped = Reason.STOPPED.about(rule.rule.id)
                    reasons |= {later.rule.id: stopped for later in looking[position + 1 :]}
                    break
        return Decision(reasons, fired)

    def is_asked(self, company: str, transition: Transition) -> bool:
        """Whether a rule or `unmatched` looks at *transition* of *company* at all."""
        return bool(self._looking(company, transition)) or self.unmatched(company, transition) is not None

    def unmatched(self, company: str, transition: Transition) -> Send | None:
        """Whom to tell of *transition* where no rule fired for the object; None if nobody."""
        to = self.unmatched_at(transition)
        return to.resolve(self.roles.get(company, {})) if to is not None else None

    def unmatched_at(self, transition: Transition) -> To | None:
        """Where `unmatched` sends *transition*, whatever the company; None if it does not look at it."""
        return self.everyone_else.get(_UNMATCHED.get(transition, ""))

    def amending(self, sink: str, own: Amend | None = None) -> Amending:
        """How later news amends a message to *sink*; *own* is what its destination in the rule says of it."""
        by_itself = self.amends.get(sink, NOT_AMENDED)
        if own is None or own is by_itself.mode:
            return by_itself
        return Amending(own, tells_all=own is Amend.EDIT)

    def amending_of(self, rule: str, send: str, sink: str) -> Amending:
        """How later news amends what *rule*, or `unmatched`, has sent to *sink*."""
        own = next((to.amend for item in self.rules if item.id == rule for to in item.send if to.id == send), None)
        return self.amending(sink, own)

    def explain(
        self,
        company: str,
        transition: Transition,
        facts: Facts,
        *,
        local: datetime | None = None,
        show: Show = as_found,
    ) -> list[Explanation]:
        """Why each rule that looks at *transition* did what it did.

        Args:
            local: The thing's own time in the company's zone, to say when a closed company opens next.
            show: How a value found reads; masks what is personal.
        """
        reasons = self.decide(company, transition, facts).reasons
        opens = self._opens(company, local)
        explained = []
        for looking in self._looking(company, transition):
            rule = looking.rule
            asked = [_asked(Reason.IF, condition, facts, opens, show) for condition in rule.conditions]
            asked += [_asked(Reason.UNLESS, exception, facts, opens, show) for exception in rule.exceptions]
            explained.append(Explanation(rule, reasons[rule.id], tuple(asked)))
        return explained

    def sends_of(self, rule: Rule, company: str) -> tuple[Send, ...]:
        """The destinations of *rule* in *company*; those whose role it has not are left out."""
        roles = self.roles.get(company, {})
        return tuple(send for to in rule.send if (send := to.resolve(roles)) is not None)

    def oldest(self, rule: Rule, send: Send) -> timedelta | None:
        """How old something may be that *rule* still tells to the destination *send*; None if any age will do."""
        is_bounded = rule.on_late is OnLate.IGNORE or (
            rule.on_late is OnLate.RECORDS_ONLY and send.sink in self.for_people
        )
        bounds = [rule.max_age] if is_bounded else []
        bounds += [send.expires] if send.expires is not None else []
        return min(bounds, default=None)

    def _looking(self, company: str, transition: Transition) -> tuple[_Looking, ...]:
        found = self._index.get((company, transition))
        if found is None:
            rules = [rule for rule in self.rules if rule.looks_at(company, transition)]
            asked = Counter(test.holds for rule in rules for test in (*rule.conditions, *rule.exceptions))
            found = self._index[company, transition] = tuple(self._ready(rule, company, asked) for rule in rules)
        return found

    def _ready(self, rule: Rule, company: str, asked: Mapping[_Holds, int]) -> _Looking:
        written = [(Reason.IF, test) for test in rule.conditions] + [(Reason.UNLESS, test) for test in rule.exceptions]
        tests = [
            (test.holds, under is Reason.IF, under.about(test.field), asked[test.holds] > _SHARED)
            for under, test in written
        ]
        send = self.sends_of(rule, company)
        if rule.mute:
            return _Looking(rule, tuple(tests), None, MUTED)
        if not send:
            roles = ", ".join(to.name for to in rule.send)
            return _Looking(rule, tuple(tests), None, Reason.NO_ROLE.about(roles))
        return _Looking(rule, tuple(tests), Fired(rule, send), _fired(rule, send))

    def _opens(self, company: str, local: datetime | None) -> str:
        schedule = self.hours.get(company)
        opening = schedule.opens_next(local) if schedule is not None and local is not None else None
        return f"; opens {opening:%a %H:%M}" if opening is not None else ""


def nearest(explanations: Sequence[Explanation]) -> Explanation | None:
    """Of the rules that one or more conditions kept silent, the one that missed by the fewest; the first of equals."""
    silent = [explanation for explanation in explanations if explanation.misses]
    return min(silent, key=lambda explanation: len(explanation.misses), default=None)


def _fired(rule: Rule, send: Sequence[Send]) -> str:
    """The reason of a rule that fires, which names what it leaves out because the company has no such role."""
    ids = {to.id for to in send}
    left_out = [to.name for to in rule.send if to.id not in ids]
    return Reason.FIRED.about(f"(no role {', '.join(left_out)})") if left_out else FIRED


def _asked(under: Reason, condition: Condition, facts: Facts, opens: str, show: Show) -> Asked:
    finding = condition.explain(facts, show)
    keeps_silent = (finding.holds is True) is (under is Reason.UNLESS)
    if keeps_silent and opens and "hours" in condition.fields and facts.get("hours") == "closed":
        finding = Finding(finding.holds, finding.sentence + opens)
    return Asked(under, finding, keeps_silent)


_UNMATCHED = {
    Transition.CALL_ANSWERED: "calls",
    Transition.CALL_MISSED: "calls",
    Transition.CALL_ABANDONED: "calls",
    Transition.CALL_VOICEMAIL: "calls",
    Transition.TEXT_RECEIVED: "texts",
    Transition.FORM_SUBMITTED: "forms",
}
