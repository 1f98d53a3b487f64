"""The sinks that act in CallRail, held against the rules and companies that send to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from receiver.companies import CompanyConfig
from receiver.positioned_yaml import Loc
from routers.accounts import AccountConfig
from routers.complaints import Complaints
from routers.lookups.checking import account_of
from routers.rules.compiling import Placed
from routers.rules.contradictions import lines_of
from routers.rules.fields import did_you_mean
from routers.rules.loops import Does, Listener, check_loops
from routers.rules.ruleset import RuleSet, To
from routers.sinks import AnySinkConfig
from routers.sinks.callrail import CallRailConfig
from routers.transitions import ALARMS, Transition

# By what a sink needs a message to be about, the beginnings of the transitions that tell of such.
_TELLING = {"call": ("call.", "outbound."), "form": ("form.",)}


def check_acting(
    placed: Sequence[Placed],
    rules: RuleSet,
    sinks: Mapping[str, AnySinkConfig],
    companies: Mapping[str, CompanyConfig],
    accounts: Mapping[str, AccountConfig],
    complaints: Complaints,
) -> None:
    """That such sinks have an account, are told what they need, and bring nothing about that leads back to them."""
    acting = {name: sink for name, sink in sinks.items() if isinstance(sink, CallRailConfig)}
    if not acting:
        return
    for name, sink in acting.items():
        if sink.account is not None and sink.account not in accounts:
            hint = did_you_mean(sink.account, accounts) or "name it under accounts:"
            complaints.complain(("sinks", name, "account"), f"there is no account '{sink.account}'", hint)
    listeners = [*(_rule(one, rules) for one in placed), *_unmatched(placed, rules)]
    for listener in listeners:
        without: dict[str, list[str]] = {}
        for slug, company in companies.items():
            heard = [each for each in Transition if listener.hears(slug, each)]
            for name in sorted(set(listener.tells(slug)) & acting.keys() if heard else ()):
                has_account = acting[name].account is not None or account_of(company, accounts) is not None
                _check_told(listener.loc, name, acting[name], heard, complaints)
                if not has_account:
                    without.setdefault(name, []).append(slug)
        for name, slugs in without.items():
            has = "has" if len(slugs) == 1 else "have"
            problem = f"the sink '{name}' acts in CallRail, and {', '.join(slugs)} {has} no account there"
            hint = "name one under accounts:, and with several write account: NAME in the company or the sink"
            complaints.complain(listener.loc, problem, hint)
    does = {name: Does(sink.do, frozenset(sink.with_)) for name, sink in acting.items()}
    check_loops(listeners, does, companies, complaints)


def _rule(placed: Placed, rules: RuleSet) -> Listener:
    """A rule, as what may lead back to itself."""
    rule = placed.rule

    def tells(company: str) -> Iterator[str]:
        if rule.companies is None or company in rule.companies:
            yield from (send.sink for send in rules.sends_of(rule, company))

    return Listener(rule.id, (*placed.loc, "send"), rule.looks_at, tells, tuple(lines_of(placed.written.if_)))


def _unmatched(placed: Sequence[Placed], rules: RuleSet) -> Iterator[Listener]:
    """The lines of `unmatched:`. They hear what no rule takes without a condition."""

    def hears(to: To, company: str, transition: Transition) -> bool:
        return rules.unmatched_at(transition) is to and not any(
            one.rule.looks_at(company, transition) and not one.written.if_ and not one.written.unless for one in placed
        )

    def tells(to: To, company: str) -> Iterator[str]:
        send = to.resolve(rules.roles.get(company, {}))
        if send is not None:
            yield send.sink

    for line, to in rules.everyone_else.items():
        yield Listener(f"unmatched {line}", ("unmatched", line), partial(hears, to), partial(tells, to))


def _check_told(loc: Loc, name: str, sink: CallRailConfig, heard: Sequence[Transition], complaints: Complaints) -> None:
    telling = _TELLING[sink.about] if sink.about is not None else None
    others = [each for each in heard if not _tells(each, telling)]
    if others:
        problem = f"the sink '{name}' needs a {sink.about or 'thing of CallRail'}, and {others[0]} tells of none"
        hint = "send it other transitions only" if sink.about is None else f"give the {sink.about}'s id under with:"
        complaints.complain(loc, problem, hint)


def _tells(transition: Transition, telling: tuple[str, ...] | None) -> bool:
    return transition not in ALARMS if telling is None else transition.startswith(telling)
