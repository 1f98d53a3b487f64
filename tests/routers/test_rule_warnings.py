"""Warnings: what is legal in router.yaml and surely not meant. Each stands beside a twin that is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from routers.config import check_config

HEAD = """\
companies:
  defaults: {records: crm}
  acme: {signing_keys: [env:ACME_KEY], alerts: terminal}
  globex: {signing_keys: [env:GLOBEX_KEY]}
sinks:
  crm: {type: webhook, url: https://example.com, signing_secrets: [env:CRM_SECRET]}
  terminal: {type: stdout}
"""
USING_ALL = "unmatched: {calls: records, texts: crm, forms: terminal}\n"
SEND = "send: [{to: records}]"


def warnings(tmp_path: Path, rules: str, *, head: str = HEAD + USING_ALL) -> list[str]:
    """The warnings for *rules*, with line and column; the file has no mistake."""
    path = tmp_path / "router.yaml"
    path.write_text(head + "rules:\n" + rules)
    checked = check_config(path)
    assert [str(problem) for problem in checked.problems] == []
    return [str(warning).removeprefix(f"{path}:") for warning in checked.warnings]


ALERTS = "  - {id: a, companies: [acme], when: [call.missed], send: [{to: alerts}]}\n"


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        pytest.param(
            f"  - {{id: r, companies: {{except: [acme, globex]}}, when: [call.missed], {SEND}}}\n",
            "no company is left for this rule",
            id="no-company",
        ),
        pytest.param(
            f"  - {{id: r, when: [call.missed], if: {{source: Yelp}}, unless: {{source: [Test, Yelp]}}, {SEND}}}\n",
            "'unless' takes away all that 'if' asks of source",
            id="if-and-unless",
        ),
        pytest.param(
            f"  - {{id: r, when: [call.missed], if: {{duration: {{gt: 60, lt: 60}}}}, {SEND}}}\n",
            "no number is in this range of duration",
            id="empty-range",
        ),
        pytest.param(
            f"  - {{id: r, when: [call.missed, call.abandoned], if: {{outcome: answered}}, {SEND}}}\n",
            "outcome is never so here: it is ",
            id="outcome-of-another-transition",
        ),
        pytest.param(
            f"  - {{id: r, companies: [acme], when: [call.missed], if: {{company: globex}}, {SEND}}}\n",
            "company is never so here: it is acme",
            id="company-of-another-rule",
        ),
        pytest.param(
            f"  - {{id: first, when: [call.missed], stop: true, {SEND}}}\n"
            f"  - {{id: r, companies: [acme], when: [call.missed], {SEND}}}\n",
            "this rule stands behind 'first', which always stops: it never fires",
            id="behind-a-stop",
        ),
        pytest.param(
            f"  - {{id: one, companies: [acme], when: [call.missed], stop: true, {SEND}}}\n"
            f"  - {{id: two, companies: {{except: [acme]}}, when: [call.missed], stop: true, {SEND}}}\n"
            f"  - {{id: r, when: [call.missed], if: {{spam: true}}, {SEND}}}\n",
            "which always stops: it never fires",
            id="behind-two-stops",
        ),
        pytest.param(
            f"  - {{id: first, when: [call.missed], if: {{spam: true}}, stop: true, {SEND}}}\n"
            f"  - {{id: r, when: [call.missed], if: {{spam: true}}, {SEND}}}\n",
            "this rule asks the same as 'first' above, which stops: it never fires",
            id="same-as-one-that-stops",
        ),
        pytest.param(
            "  - {id: r, when: [call.missed], send: [{to: alerts}]}\n",
            "globex has no role 'alerts'",
            id="company-without-role",
        ),
    ],
)
def test_a_rule_that_cannot_be_meant_is_warned_of_once(tmp_path: Path, rules: str, sentence: str) -> None:
    """One warning, at a place within the rule, with a remedy."""
    own = "" if "alerts" in rules else ALERTS
    (found,) = warnings(tmp_path, own + rules)

    assert sentence in found
    assert "; " in found
    assert "(rules[" in found


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(
            f"  - {{id: r, when: [call.missed], if: {{source: [Yelp, Google]}}, unless: {{source: Yelp}}, {SEND}}}\n",
            id="unless-takes-away-a-part",
        ),
        pytest.param(
            f"  - {{id: r, when: [call.missed], if: {{duration: {{gt: 60, lt: 61.5}}}}, {SEND}}}\n", id="narrow-range"
        ),
        pytest.param(
            f"  - {{id: r, when: [call.missed, call.ended], if: {{outcome: answered}}, {SEND}}}\n",
            id="outcome-that-may-be",
        ),
        pytest.param(
            f"  - {{id: first, companies: [acme], when: [call.missed], stop: true, {SEND}}}\n"
            f"  - {{id: r, when: [call.missed], {SEND}}}\n",
            id="stop-for-one-company",
        ),
        pytest.param(
            f"  - {{id: first, when: [call.missed], if: {{spam: true}}, stop: true, {SEND}}}\n"
            f"  - {{id: r, when: [call.missed], {SEND}}}\n",
            id="stop-with-a-condition",
        ),
        pytest.param(
            f"  - {{id: first, when: [call.missed], {SEND}}}\n  - {{id: r, when: [call.missed], {SEND}}}\n",
            id="the-same-without-stop",
        ),
    ],
)
def test_a_rule_that_can_be_meant_is_not_warned_of(tmp_path: Path, rules: str) -> None:
    """A warning that is wrong teaches people to ignore them."""
    assert warnings(tmp_path, ALERTS + rules) == []


def test_sinks_and_roles_that_nothing_is_sent_to_are_warned_of(tmp_path: Path) -> None:
    """At their names; what only a role leads to is used."""
    found = warnings(
        tmp_path, f"  - {{id: r, when: [call.missed], {SEND}}}\n", head=HEAD.replace("alerts: terminal", "pager: crm")
    )

    assert found == [
        "3:40 (companies.acme.pager): no rule sends to the role 'pager'; send to it, or take it out",
        "7:3 (sinks.terminal): nothing is sent to the sink 'terminal'; send to it, or take it out",
    ]


def test_a_company_without_hours_is_warned_of_where_a_rule_asks_for_them(tmp_path: Path) -> None:
    """The others have some; if none had, it would be a mistake."""
    head = HEAD.replace("alerts: terminal", "alerts: terminal, hours: office") + USING_ALL
    head += "hours: {office: {mon: '08:00-18:00'}}\n"

    (found,) = warnings(
        tmp_path, ALERTS + f"  - {{id: r, when: [call.missed], if: {{hours: open}}, {SEND}}}\n", head=head
    )

    assert found.startswith("12:39 (rules[1].if.hours): globex has no opening hours; write hours: NAME")
