"""Warnings: what is legal in router.yaml and surely not meant. Each stands beside a twin that is meant."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routers.config import check_config
from routers.rules.ruleset import RuleSet
from routers.transitions import Transition

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


MISSED, VOICEMAIL = "call.missed", "call.voicemail"
TAKES_AWAY = "'unless' takes away all that 'if' asks of {}"
CONTRADICT = "the conditions on {} contradict each other"
WHEREVER = "which stops wherever this one would fire"
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
            "nothing is in this range of duration",
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
        *(
            pytest.param(f"  - {{id: r, when: [{when}], {asked}, {SEND}}}\n", sentence, id=asked)
            for when, asked, sentence in [
                (MISSED, "if: {spam: true}, unless: {spam: true}", TAKES_AWAY.format("spam")),
                (
                    MISSED,
                    "if: {source: Yelp}, unless: {any: [{source: yelp}, {spam: true}]}",
                    TAKES_AWAY.format("source"),
                ),
                (MISSED, "if: {duration: {gt: 60}}, unless: {duration: {gte: 30}}", TAKES_AWAY.format("duration")),
                (MISSED, "if: {first_call: {exists: true}}, unless: {first_call: [true, false]}", "takes away all"),
                (MISSED, "if: {all: [{source: Yelp}, {source: Google}]}", CONTRADICT.format("source")),
                (MISSED, "if: {source: Yelp, all: [{spam: true}, {source: {not: Yelp}}]}", CONTRADICT.format("source")),
                (MISSED, "if: {source: Yelp, not: {source: [yelp, Bing]}}", CONTRADICT.format("source")),
                (MISSED, "if: {duration: {gt: 10}, all: [{duration: {lt: 5}}]}", CONTRADICT.format("duration")),
                (MISSED, "if: {duration: {gt: 60, lt: 61}}", "nothing is in this range of duration"),
                (MISSED, "if: {value: {between: [10, 20], gt: 20}}", "nothing is in this range of value"),
                (MISSED, "if: {start_time: {gt: '2026-03-10', lt: '2026-03-10'}}", "nothing is in this range of start"),
                (
                    MISSED,
                    "if: {all: [{start_time: {lt: '2026-03-10'}}, {start_time: {gte: '2026-03-11'}}]}",
                    "contradict",
                ),
                ("text.received", "if: {opt_out: true, content: Stop}, unless: {opt_out: true}", "takes away all"),
            ]
        ),
        *(
            pytest.param(
                f"  - {{id: first, when: [{MISSED}, {VOICEMAIL}], {first}, stop: true, {SEND}}}\n"
                f"  - {{id: r, when: [{MISSED}], {second}, {SEND}}}\n",
                f"this rule stands behind 'first', {how}: it never fires",
                id=f"{first}-{second}",
            )
            for first, second, how in [
                ("if: {spam: true}", "if: {source: Yelp, spam: true}", WHEREVER),
                ("if: {spam: true}", "if: {all: [{source: Yelp}, {spam: true}]}", WHEREVER),
                ("if: {source: [Yelp, Bing]}", "if: {source: Bing, spam: true}", WHEREVER),
                ("unless: {source: Test}", "unless: {source: [Test, Demo], spam: true}", WHEREVER),
                ("if: {spam: true}, mute: true", "if: {spam: true, first_call: true}", WHEREVER),
                ("mute: true", "if: {spam: true}", "which always stops"),
            ]
        ),
        pytest.param(
            f"  - {{id: r, when: [{MISSED}, {VOICEMAIL}, {MISSED}], {SEND}}}\n",
            "(rules[1].when[2]): 'call.missed' stands here twice",
            id="when-twice",
        ),
        pytest.param(
            f"  - {{id: r, companies: [acme, acme], when: [{MISSED}], {SEND}}}\n",
            "(rules[1].companies[1]): 'acme' stands here twice",
            id="company-twice",
        ),
        pytest.param(
            f"  - {{id: r, companies: {{except: [acme, acme]}}, when: [{MISSED}], {SEND}}}\n",
            "(rules[1].companies.except[1]): 'acme' stands here twice",
            id="exception-twice",
        ),
        pytest.param(
            f"  - {{id: r, when: [{MISSED}], on_late: deliver, max_age: 2h, {SEND}}}\n",
            "(rules[1].max_age): 'max_age' has no effect beside on_late: deliver",
            id="max-age-for-nothing",
        ),
        pytest.param(
            f"  - {{id: r, companies: [acme], when: [router.sink_down], {SEND}}}\n",
            "(rules[1].when[0]): 'router.sink_down' belongs to no company, and this rule is for some: it never fires",
            id="alarm-of-no-company",
        ),
        pytest.param(
            "  - {id: r, when: [router.spooling], send: [{to: alerts}]}\n",
            "companies.defaults has no role 'alerts'; alarms belong to no company; write alerts: SINK under",
            id="alarm-without-role",
        ),
        pytest.param(
            f"  - {{id: r, when: [router.sink_down], {SEND}}}\n",
            "(rules[1].send): that 'crm' is down itself is told nobody",
            id="alarm-by-one-sink",
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
            "  - {id: r, when: [router.sink_down], send: [{to: records}, {to: terminal}]}\n", id="alarm-by-two-sinks"
        ),
        pytest.param(
            f"  - {{id: r, companies: [acme], when: [source.bad_signature], {SEND}}}\n", id="alarm-of-a-company"
        ),
        pytest.param(
            f"  - {{id: first, when: [call.missed], {SEND}}}\n  - {{id: r, when: [call.missed], {SEND}}}\n",
            id="the-same-without-stop",
        ),
        *(
            pytest.param(f"  - {{id: r, when: [{when}], {asked}, {SEND}}}\n", id=asked)
            for when, asked in [
                (MISSED, "if: {all: [{tags: A}, {tags: B}]}"),
                (MISSED, "if: {tags: [A, B]}, unless: {tags: A}"),
                (MISSED, "if: {any: [{source: Yelp}, {source: Google}]}"),
                (MISSED, "if: {source: {not: Yelp}}, unless: {source: [Google, Bing]}"),
                (MISSED, "if: {source: {prefix: A}}, unless: {source: {suffix: B}}"),
                (MISSED, "if: {source: {prefix: A, suffix: B}}"),
                (MISSED, "if: {source: {matches: '^a'}}, unless: {source: A}"),
                (MISSED, "if: {duration: {exists: true}}, unless: {duration: 5}"),
                (MISSED, "if: {duration: {gte: 60, lte: 60}}"),
                (MISSED, "if: {value: {gt: 60, lt: 61}}"),
                (MISSED, "if: {start_time: {gte: '2026-03-10', lte: '2026-03-10'}}"),
                (MISSED, "if: {source: Yelp}, unless: {all: [{source: Yelp}, {spam: true}]}"),
                (MISSED, "if: {source: Yelp}, unless: {any: [{source: Yelp, spam: true}]}"),
                (MISSED, "if: {note: {exists: false}}, unless: {note: x}"),
                (MISSED, "if: {spam: {not: true}}, unless: {spam: false}"),
                (MISSED, "on_late: deliver"),
                (MISSED, "on_late: ignore, max_age: 2h"),
                ("call.changed", "if: {note: {changed: true}, all: [{note: {changed: true, exists: true}}]}"),
                ("call.changed", "if: {tags: {added: A}}, unless: {tags: {removed: A}}"),
                ("form.submitted", "if: {form_data.zip: '30301'}, unless: {form_data.city: Atlanta}"),
            ]
        ),
        *(
            pytest.param(
                f"  - {{id: first, when: [{when}], {first}, stop: true, {SEND}}}\n"
                f"  - {{id: r, when: [{when}], {second}, {SEND}}}\n",
                id=f"{first}-then-{second}",
            )
            for when, first, second in [
                (MISSED, "if: {spam: true, source: Yelp}", "if: {spam: true}"),
                (MISSED, "if: {source: Bing}", "if: {source: [Yelp, Bing]}"),
                (MISSED, "unless: {source: [Test, Demo]}", "unless: {source: Test}"),
                (MISSED, "if: {spam: true}, unless: {source: Test}", "if: {spam: true}"),
                ("text.received", "mute: true", "if: {opt_out: true}"),
                ("text.received", "if: {content: Stop}, mute: true", "if: {content: Stop, opt_out: true}"),
            ]
        ),
        pytest.param(
            f"  - {{id: first, when: [{MISSED}], if: {{spam: true}}, stop: true, {SEND}}}\n"
            f"  - {{id: r, when: [{MISSED}, {VOICEMAIL}], if: {{spam: true}}, {SEND}}}\n",
            id="stop-at-one-of-two",
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


def test_a_company_without_the_role_of_unmatched_is_warned_of(tmp_path: Path) -> None:
    """Once for each sort of object, at its line; a sink and a role that all have are no matter."""
    head = HEAD + "unmatched: {calls: alerts, texts: records, forms: terminal}\n"

    (found,) = warnings(tmp_path, f"  - {{id: r, when: [call.missed], {SEND}}}\n", head=head)

    assert found == (
        "8:20 (unmatched.calls): globex has no role 'alerts'; nobody is told there; "
        "write alerts: SINK in the company or under companies.defaults"
    )


def test_hours_that_no_company_keeps_are_warned_of(tmp_path: Path) -> None:
    """Those of the defaults too, where each company has others; a schedule that is kept is no matter."""
    head = HEAD.replace("alerts: terminal}", "alerts: terminal, hours: office}").replace(
        "[env:GLOBEX_KEY]}", "[env:GLOBEX_KEY], hours: office}"
    )
    head = head.replace("records: crm", "records: crm, hours: summer") + USING_ALL
    head += "hours:\n  office: {mon: '08:00-18:00'}\n  summer: {mon: '08:00-14:00'}\n"

    (found,) = warnings(tmp_path, ALERTS, head=head)

    assert found == (
        "11:3 (hours.summer): no company keeps the hours 'summer'; "
        "write hours: summer in a company or under companies.defaults, or take it out"
    )


# --- what is warned of never happens ---------------------------------------------------------------------------------

_numbers = st.integers(-1, 4)
_days = st.sampled_from(["2026-03-09", "2026-03-10", "2026-03-11", "2026-03-10T12:00:00Z"])
_sources = st.sampled_from(["Yelp", "yelp", "Bing"])
_tags = st.sampled_from(["A", "B"])


def _one_or_two(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values | st.lists(values, min_size=1, max_size=2)


def _ordered(bounds: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    operators = st.sampled_from(["gt", "gte", "lt", "lte"])
    return st.dictionaries(operators, bounds, min_size=1, max_size=2) | st.fixed_dictionaries({"not": bounds})


_exists = st.fixed_dictionaries({"exists": st.booleans()})
_parts_of_text = st.dictionaries(
    st.sampled_from(["prefix", "contains", "matches"]), st.sampled_from(["y", "b"]), min_size=1
)
_wanted: Mapping[str, st.SearchStrategy[Any]] = {
    "source": _one_or_two(_sources) | st.fixed_dictionaries({"not": _one_or_two(_sources)}) | _exists | _parts_of_text,
    "spam": st.booleans() | st.fixed_dictionaries({"not": st.booleans()}) | _exists,
    "duration": _numbers | _ordered(_numbers) | _exists,
    "value": _ordered(_numbers) | _exists,
    "start_time": _ordered(_days),
    "tags": _one_or_two(_tags) | st.fixed_dictionaries({"not": _tags}),
    "outcome": _one_or_two(st.sampled_from(["missed", "voicemail", "answered"])),
}
_lines = st.fixed_dictionaries({}, optional=_wanted)
_some_lines = _lines.filter(bool)
_joined = st.fixed_dictionaries(
    {},
    optional={
        "all": st.lists(_some_lines, min_size=1, max_size=2),
        "any": st.lists(_some_lines, min_size=1, max_size=2),
        "not": _some_lines,
    },
)
_blocks = st.one_of(_lines, st.builds(lambda one, other: {**one, **other}, _lines, _joined))
_rules = st.fixed_dictionaries(
    {
        "companies": st.sampled_from(["all", ["acme"], ["globex"], {"except": ["acme"]}]),
        "when": st.sampled_from([["call.missed"], ["call.voicemail"], ["call.missed", "call.voicemail"]]),
        "if": _blocks,
        "unless": _blocks,
        "stop": st.booleans(),
        "send": st.just([{"to": "records"}]),
    }
)
_facts = st.fixed_dictionaries(
    {},
    optional={
        "source": st.sampled_from(["Yelp", "YELP", "bing", "Google", None]),
        "spam": st.booleans() | st.none(),
        "duration": st.integers(-3, 6) | st.none(),
        "value": st.sampled_from([None, "$1.50", "2", "3.25", "none", 4]),
        "start_time": st.sampled_from([None, "2026-03-10T00:00:00Z", "2026-03-10T12:00:00Z", "2026-03-12T08:00:00Z"]),
        "tags": st.sampled_from([[], ["A"], ["B"], ["A", "B"], None]),
    },
)


def checked(written: list[dict[str, Any]]) -> tuple[RuleSet, set[int]] | None:
    """The rules, and the positions of those that are said to fire never; None if there is a mistake in them."""
    file = {
        "companies": {
            "acme": {"signing_keys": ["env:KEY"], "records": "terminal"},
            "globex": {"signing_keys": ["env:KEY"], "records": "terminal"},
        },
        "sinks": {"terminal": {"type": "stdout"}},
        "rules": [{"id": f"r{number}", **rule} for number, rule in enumerate(written)],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "router.yaml"
        path.write_bytes(orjson.dumps(file))
        found = check_config(path)
    if found.configuration is None:
        return None
    never = [warning for warning in found.warnings if "never fires" in str(warning)]
    return found.configuration.rules, {int(str(warning).partition("rules[")[2].partition("]")[0]) for warning in never}


@settings(max_examples=150)
@given(st.lists(_rules, min_size=1, max_size=3), st.lists(_facts, min_size=20, max_size=20), st.data())
def test_a_rule_that_is_said_never_to_fire_never_does(
    written: list[dict[str, Any]], facts: list[dict[str, Any]], data: st.DataObject
) -> None:
    """No warning is false, whatever the rules ask and whatever is told."""
    found = checked(written)
    if found is None:
        return
    rules, never = found
    for told in facts:
        company, outcome = (
            data.draw(st.sampled_from(["acme", "globex"])),
            data.draw(st.sampled_from(["missed", "voicemail"])),
        )
        decision = rules.decide(
            company, Transition(f"call.{outcome}"), {**told, "company": company, "outcome": outcome}
        )
        assert never.isdisjoint(int(fired.rule.id[1:]) for fired in decision.fired)
