"""The sinks that act in CallRail, held against the rules and companies that send to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from receiver.companies import CompanyConfig
from routers.accounts import AccountConfig
from routers.complaints import Complaints
from routers.lookups.checking import account_of
from routers.rules.compiling import Placed
from routers.rules.fields import did_you_mean
from routers.rules.loops import Does, check_loops
from routers.rules.ruleset import RuleSet
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
    for name, sink in acting.items():
        if sink.account is not None and sink.account not in accounts:
            hint = did_you_mean(sink.account, accounts) or "name it under accounts:"
            complaints.complain(("sinks", name, "account"), f"there is no account '{sink.account}'", hint)
    for rule in placed if acting else ():
        for slug, company in companies.items():
            if rule.rule.companies is not None and slug not in rule.rule.companies:
                continue
            for send in rules.sends_of(rule.rule, slug):
                if (acts := acting.get(send.sink)) is not None:
                    has_account = acts.account is not None or account_of(company, accounts) is not None
                    _check_send(rule, send.sink, acts, slug if not has_account else None, complaints)
    does = {name: Does(sink.do, frozenset(sink.with_)) for name, sink in acting.items()}
    check_loops(placed, rules, does, companies, complaints)


def _check_send(
    rule: Placed, name: str, sink: CallRailConfig, without_account: str | None, complaints: Complaints
) -> None:
    if without_account is not None:
        problem = f"the sink '{name}' acts in CallRail, and {without_account} has no account there"
        hint = "name one under accounts:, and with several write account: NAME in the company or the sink"
        complaints.complain((*rule.loc, "send"), problem, hint)
    telling = _TELLING[sink.about] if sink.about is not None else None
    others = [each for each in sorted(rule.rule.when) if not _tells(each, telling)]
    if others:
        problem = f"the sink '{name}' needs a {sink.about or 'thing of CallRail'}, and {others[0]} tells of none"
        hint = "send it other transitions only" if sink.about is None else f"give the {sink.about}'s id under with:"
        complaints.complain((*rule.loc, "send"), problem, hint)


def _tells(transition: Transition, telling: tuple[str, ...] | None) -> bool:
    return transition not in ALARMS if telling is None else transition.startswith(telling)
