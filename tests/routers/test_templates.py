"""From a delivery to its message: the built-in texts, one's own, what a template sees, and what systems get."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from callrail.fields import FIELDS
from routers import escapes
from routers.filters import FILTERS
from routers.leases import Delivery
from routers.messages import Message, Text
from routers.templates import (
    BUILT_IN_NAMES,
    OWN_NAMES,
    Templates,
    built_in_templates,
    check_templates,
    read_folder,
    render,
    values_of,
)
from routers.transitions import ALARMS, OF_THE_INSTALLATION, Transition, template_name
from tests.routers.facts import CALL, FORM, TEXT, facts_of
from tests.routers.store import a_delivery

OCCURRED_AT = datetime(2026, 3, 10, 18, 15, tzinfo=UTC)
GOLDEN = Path(__file__).parent / "golden" / "templates.txt"
DEFAULTS = Path(__file__).parents[2] / "routers" / "default_templates"


def delivery_of(transition: Transition, facts: dict[str, Any], **changed: Any) -> Delivery:
    told = {"occurred_at": OCCURRED_AT, "stage": facts.get("stage", "ended"), "outcome": facts.get("outcome")}
    return a_delivery(facts, transition=transition, **(told | changed))


def rendered(transition: Transition, facts: dict[str, Any], **changed: Any) -> Message:
    return render(delivery_of(transition, facts, **changed), built_in_templates())


def written(source: str, facts: dict[str, Any], transition: Transition = Transition.CALL_MISSED) -> Text:
    """What a template of one's own makes of *facts*."""
    delivery = delivery_of(transition, facts)
    values = values_of(delivery, delivery.facts)
    return Templates.of({"own": source}).render("own", values, zone=ZoneInfo("America/New_York"))


# --- the built-in texts ----------------------------------------------------------------------------------------------


def golden() -> str:
    """Every built-in text over facts as CallRail tells them, and over almost none."""
    blocks = []
    for transition in Transition:
        for name, facts in (("realistic", facts_of(transition)), ("almost empty", {"resource_id": "X1"})):
            text = rendered(transition, facts).text()
            blocks.append("\n".join([f"# {transition} ({name})", text.title, *(f"  {line}" for line in text.lines)]))
    return "\n\n".join(blocks) + "\n"


def test_the_built_in_texts_read_as_reviewed() -> None:
    """Read the difference as the person who gets it; REWRITE_GOLDEN=1 accepts it."""
    if os.environ.get("REWRITE_GOLDEN"):
        GOLDEN.write_text(golden(), encoding="utf-8")

    assert golden() == GOLDEN.read_text(encoding="utf-8")


def test_every_transition_has_a_built_in_text_and_each_text_a_transition() -> None:
    """The folder holds exactly the closed list, and each file is right."""
    complaints: list[tuple[str, int, str, str]] = []
    texts = read_folder(DEFAULTS)
    check_templates(texts, lambda *complaint: complaints.append(complaint))

    assert set(texts) == BUILT_IN_NAMES == {transition.value.replace(".", "_") for transition in Transition}
    assert complaints == []


@pytest.mark.parametrize("transition", Transition)
@pytest.mark.parametrize("facts", [{}, dict.fromkeys([*FIELDS, *OWN_NAMES]), None], ids=["untold", "empty", "full"])
def test_every_transition_has_a_text_without_holes(transition: Transition, facts: dict[str, Any] | None) -> None:
    """What is not known leaves out its part: no `None`, no empty line, no dangling separator."""
    with capture_logs() as logs:
        text = rendered(transition, facts_of(transition) if facts is None else facts).text()

    assert logs == []
    if transition not in OF_THE_INSTALLATION:
        has_name = facts is None and transition not in ALARMS
        assert text.title.endswith(" · Acme Plumbing" if has_name else " · Acme")
    for line in (text.title, *text.lines):
        assert line
        assert "None" not in line
        assert line == line.strip(" ·")
        assert "·  ·" not in line


def test_a_returning_caller_is_told_apart() -> None:
    """The third call of a lead is another conversation than the first."""
    first = rendered(Transition.CALL_MISSED, {**CALL, "first_call": True, "total_calls": 1}).text()
    third = rendered(Transition.CALL_MISSED, {**CALL, "first_call": False, "total_calls": 3}).text()

    assert first.lines[0] == "AVERY QUILL · (404) 555-0101 · Atlanta, GA · first call"
    assert third.lines[0] == "AVERY QUILL · (404) 555-0101 · Atlanta, GA · 3rd call"


def test_a_withheld_number_is_said_and_an_unknown_zone_is_utc() -> None:
    """Nobody is told a wrong time of day."""
    text = rendered(Transition.CALL_MISSED, {"customer_phone_number": None}).text()

    assert text.lines == ("number withheld", "10 Mar 18:15 UTC")
    assert rendered(Transition.CALL_MISSED, {}).text().lines[0] == "number unknown"


@pytest.mark.parametrize("zone", ["America", "../../etc/passwd", "", "\x00", "x" * 300, "Mars/Base", "-05:00", ["x"]])
def test_a_time_zone_that_is_none_costs_nobody_a_message(zone: object) -> None:
    """`America` alone is a folder of the zone files: reading it raised OSError, and the lead was a dead letter."""
    text = rendered(Transition.CALL_MISSED, {"company_time_zone": zone}).text()

    assert text.lines[-1] == "10 Mar 18:15 UTC"


def test_what_changed_is_told_from_what_to_what() -> None:
    """Also to and from nothing; a long text is cut, and a link that lets anybody listen is only named."""
    facts = {
        "changes": ["tags", "note", "transcription", "recording"],
        "$before": {"tags": ["Quote"], "note": "call back", "transcription": None, "recording": None},
        "tags": ["Quote", "Sold"],
        "note": None,
        "transcription": "word " * 100,
        "recording": SECRET_LINK,
    }

    assert rendered(Transition.CALL_CHANGED, facts).text().lines[1:5] == (
        "tags: Quote → Quote, Sold",
        "note: call back → nothing",
        "transcription: nothing → " + ("word " * 16).strip() + "…",
        "recording",
    )


def test_a_corrected_outcome_says_what_it_was() -> None:
    """The first thing to know of a correction."""
    text = rendered(Transition.CALL_CORRECTED, {**CALL, "was_outcome": "missed", "outcome": "answered"}).text()

    assert text.lines[1] == "missed → answered"


def test_an_opt_out_is_no_news_of_a_lead() -> None:
    """It says so in its title, and what follows from it."""
    text = rendered(Transition.TEXT_RECEIVED, {**TEXT, "content": "STOP", "opt_out": True}).text()

    assert text.title == "Opted out of texts · Acme Plumbing"
    assert "Do not text this number again." in text.lines


@pytest.mark.parametrize(("count", "said"), [(1, "1 file attached"), (3, "3 files attached")])
def test_an_mms_says_how_much_came_with_it(count: int, said: str) -> None:
    """The files themselves need an API key."""
    media = [f"https://app.callrail.com/media/{number}" for number in range(count)]

    assert said in rendered(Transition.TEXT_RECEIVED, {**TEXT, "media_urls": media}).text().lines


def test_a_form_says_who_before_what() -> None:
    """Contact data stands in the first line and is not said again below."""
    text = rendered(Transition.FORM_SUBMITTED, FORM).text()

    assert text.lines[0] == "Avery Quill · (404) 555-0101 · avery.quill@example.com · first form"
    assert [line.partition(":")[0] for line in text.lines[1:3]] == ["city", "how can we help"]


def test_a_long_text_is_cut() -> None:
    """Six hundred characters of a voicemail are enough for a notification."""
    said = rendered(Transition.CALL_VOICEMAIL, {"transcription": "word " * 500}).text().lines[1]

    assert len(said) <= 602
    assert said.endswith("…”")


def test_a_long_form_is_cut() -> None:
    """Twelve of its fields at most, that there are more, and the time."""
    form = {f"field {number}": "x" for number in range(100)}
    lines = rendered(Transition.FORM_SUBMITTED, {"form_data": form}).text().lines

    assert len(lines) == 14
    assert lines[-2] == "… and more fields"


# --- one's own -------------------------------------------------------------------------------------------------------


def test_the_first_line_is_the_title_and_empty_lines_are_dropped() -> None:
    """Blanks are squeezed, so a template may be indented as its author likes."""
    assert written("\n\n  Missed:   {{ who }}\n\n   {{ note }}\n  at  {{ source }} \n", CALL) == Text(
        "Missed: AVERY QUILL · (404) 555-0101 · Atlanta, GA · first call", ("at Google Ads",)
    )


def test_a_title_has_its_length() -> None:
    """Subjects of e-mails and heads of notifications have; what is escaped is not cut in two."""
    text = Templates.of({"t": "{{ note }}"}).render("t", {"note": "x" * 197 + "<<<<"}, escapes.slack)

    assert text.title == "x" * 197 + "…"


def test_an_own_template_replaces_the_built_in_one_of_its_name() -> None:
    """And only that one."""
    templates = Templates.of({"call_missed": "Ring back {{ customer_phone_number | phone }}"})
    missed, answered = (delivery_of(name, CALL) for name in (Transition.CALL_MISSED, Transition.CALL_ANSWERED))

    assert render(missed, templates).text() == Text("Ring back (404) 555-0101")
    assert render(answered, templates).text().title == "Call answered · Acme Plumbing"


def test_a_rule_may_name_a_template() -> None:
    """The delivery carries the name; without one the transition's own is used."""
    templates = Templates.of({"my_alert": "{{ transition }} by {{ rule }}"})

    assert render(delivery_of(Transition.CALL_MISSED, CALL, template="my_alert"), templates).text() == Text(
        "call.missed by r"
    )


@pytest.mark.parametrize(
    "source",
    ["{{ duration / 0 }}", "{{ customer_name > 3 }}", "{{ name | nosuch }}", "{% if %}", "{{ note }}", ""],
    ids=["calculation", "comparison", "filter", "syntax", "comes-out-empty", "is-empty"],
)
def test_a_template_that_fails_never_costs_the_message(source: str) -> None:
    """The built-in one speaks instead, and the log says which failed."""
    with capture_logs() as logs:
        text = render(delivery_of(Transition.CALL_MISSED, CALL), Templates.of({"call_missed": source})).text()

    assert text == rendered(Transition.CALL_MISSED, CALL).text()
    assert [(log["event"], log["template"], log["id"]) for log in logs] == [("template.failed", "call_missed", "dl_1")]


class NoZone(tzinfo):
    """A time zone in which no time can be told, and with it no built-in template rendered."""

    def utcoffset(self, _moment: datetime | None) -> timedelta:
        raise OSError("a secret")

    dst = tzname = utcoffset  # type: ignore[assignment]


def test_if_all_else_fails_there_is_still_a_message() -> None:
    """What happened, whose it is, and the id to look it up by."""
    delivery = delivery_of(Transition.CALL_MISSED, CALL)
    with capture_logs() as logs:
        text = render(delivery, built_in_templates(), zone=NoZone()).text(escapes.html)

    assert text == Text("call.missed · acme", ("CAL1",))
    assert [log["problem"] for log in logs] == ["line 4: OSError", "line 4: OSError"]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (
            "Missed\n\n{{ customer_name - 1 }}",
            "line 3: only numbers can be calculated with; texts are put together by ~",
        ),
        ("\n{% if customer_name > 60 %}{% endif %}", "line 2: a text and a number cannot be compared by size"),
        ("{{ duration / 0 }}", "line 1: a number is divided by 0"),
        ("{{ tags | round(1, 2) }}", "line 1: the filter 'round' does not take what stands in its brackets"),
        ("{{ nobody }}", "it comes out empty"),
    ],
)
def test_a_failure_names_its_line(source: str, problem: str) -> None:
    """An operator finds the place by the log alone, where no value of a caller stands."""
    with capture_logs() as logs:
        templates = Templates.of({"call_missed": source})
        render(delivery_of(Transition.CALL_MISSED, CALL), templates).text()

    assert [log["problem"] for log in logs] == [problem]


def test_a_template_nobody_has_any_more_is_replaced_by_the_built_in_one() -> None:
    """A delivery may be older than the present router.yaml."""
    message = rendered(Transition.CALL_MISSED, CALL, template="gone")

    assert message.text() == rendered(Transition.CALL_MISSED, CALL).text()


def test_the_folder_is_read_by_name(tmp_path: Path) -> None:
    """`NAME.jinja` is the template NAME; other files are none."""
    (tmp_path / "call_missed.jinja").write_text("“Missed”", encoding="utf-8")
    (tmp_path / "README.md").write_text("not a template")

    assert read_folder(tmp_path) == {"call_missed": "“Missed”"}


# --- what a template sees --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "{{ company }} {{ transition }} {{ rule }} {{ object_type }} {{ callrail_id }}",
            "acme call.missed r call CAL1",
        ),
        ("{{ occurred_at | localtime }}", "10 Mar 14:15"),
        ("{{ first_call }} {{ spam }}", "yes no"),
        ("{{ tags }}", "Quote, Emergency"),
        ("{{ tags[0] }}|{{ tags[7] }}|", "Quote||"),
        ("{{ milestones.first_touch.device }}", "mobile"),
        ("{{ milestones['first_touch']['device'] }}", "mobile"),
        ("{{ form_data.your_name.first }}|{{ custom.a.b.c }}|", "||"),
        ("{{ before.note }} → {{ now.note }}", "old → Wants a quote"),
        ("{% for name in changes %}{{ name }}: {{ fields[name] }}{% endfor %}", "note: Wants a quote"),
        ("x{% if gclid %}told{% endif %}", "x"),
        ("{{ gclid is defined }} {{ note is defined }} {{ gclid is none }}", "no yes yes"),
        ("{{ gclid > 3 }} {{ 3 > gclid }} {{ gclid == 3 }}", "no no no"),
        ("x{{ gclid + 1 }}{{ gclid ~ '' }}", "x"),
        ("{{ duration + 1 }} {{ duration // 60 }} {{ -duration }} {{ duration % 60 }}", "76 1 -75 15"),
        ("{{ 'big' if duration > 60 else 'small' }}", "big"),
        ("{{ customer_city ~ '/' ~ customer_state ~ '/' ~ gclid ~ duration }}", "Atlanta/GA/75"),
        ("{{ 'Quote' in tags }} {{ source in ['Google Ads', 'Yelp'] }} {{ 'x' in gclid }}", "yes yes no"),
        ("{{ milestones }}|{{ now }}|", "||"),
        ("{% for name in before %}{{ name }}{% endfor %} {{ 'duration' in fields }}", "note yes"),
        ("|{{ fields['$before'] }}|{{ '$before' in fields }}", "||no"),
    ],
)
def test_a_template_sees_the_fields_and_our_own_names(source: str, expected: str) -> None:
    """Untold and empty alike are nothing, and so is a path through something missing."""
    facts = {**CALL, "note": "Wants a quote", "changes": ["note"], "$before": {"note": "old"}}

    assert written(source, facts).title == expected


def test_now_is_the_present_state_where_it_is_given() -> None:
    """The fields themselves stay what was known then."""
    templates = Templates.of({"call_missed": "{{ note }} {{ now.note }}"})
    message = render(delivery_of(Transition.CALL_MISSED, {"note": "then"}), templates, present={"note": "now"})

    assert message.text().title == "then now"


def test_the_company_s_own_zone_goes_before_the_one_callrail_told() -> None:
    """`time_zone:` of router.yaml."""
    delivery = delivery_of(Transition.CALL_MISSED, {"company_time_zone": "America/New_York"})
    message = render(delivery, built_in_templates(), zone=timezone(timedelta(hours=1)))

    assert message.text().lines[-1] == "10 Mar 19:15"


# --- checking --------------------------------------------------------------------------------------------------------


def complaints_of(source: str, fields: dict[str, list[str]] | None = None) -> list[tuple[int, str, str]]:
    found: list[tuple[int, str, str]] = []

    def complain(name: str, line: int, problem: str, hint: str) -> None:
        assert name == "alert"
        found.append((line, problem, hint))

    check_templates({"alert": source}, complain, fields=fields)
    return found


@pytest.mark.parametrize(
    ("source", "line", "problem", "hint"),
    [
        ("Hi\n{{ custmer_name }}", 2, "unknown name 'custmer_name'", "did you mean 'customer_name'?"),
        ("{{ zzzzzz.x }}", 1, "unknown name 'zzzzzz'", "write a field by CallRail's name"),
        ("{% set a = 1 %}\n{{ a }}\n{{ b }}", 3, "unknown name 'b'", ""),
        ("{{ note | phon }}", 1, "unknown filter 'phon'", "did you mean 'phone'?"),
        ("{{ note | safe }}", 1, "'safe' is not for templates here", "leave it out: values are escaped"),
        ("{{ note | wordcount }}", 1, "unknown filter 'wordcount'", "there are: default, duration, first,"),
        ("{{ note is even }}", 1, "unknown test 'is even'", "write == to compare, or 'is defined'"),
        ("\n{{ note", 2, "this cannot be read: unexpected end of template", ""),
        ("{{ note note }}", 1, "this cannot be read: expected token 'end of print statement'", "{{ }} holds one"),
        ("a\n{% if note %}\nb", 3, "{% if %} is not closed", "write {% endif %} after it"),
        ("{% iff note %}", 1, "unknown tag '{% iff %}'", "did you mean 'if'?"),
        ("{% if note %}\n{% fro x in tags %}", 2, "unknown tag '{% fro %}'", "there are: if, elif,"),
        ("{% for x in tags %}{% endif %}", 1, "unknown tag '{% endif %}'", "write {% endfor %}"),
        ("{{ localtime(note) }}", 1, "a template calls nothing", "use a filter"),
        (
            "{{ note | truncate(1, 2, 3) }}",
            1,
            "the filter 'truncate' does not take what stands in its brackets",
            "see docs",
        ),
        ("{{ note | truncate(length=1, length=2) }}", 1, "something in it cannot be read", "see docs"),
        ("{% for x in tags %}\n{% set loop = 1 %}\n{% endfor %}", 2, "something in it cannot be read", "see docs"),
        ("{{ occurred_at | localtime('%Q') }}", 1, "localtime cannot write times like that", "see docs"),
        ("{{ " + "(" * 5_000, 1, "the template is nested too deeply", "make it simpler"),
        ("{{ " + "9" * 5_000 + " }}", 1, "the template has a number that is too large", "write a smaller one"),
        ("x" * 20_001, 1, "the template has more than 20,000 characters", "make it shorter"),
    ],
)
def test_each_mistake_is_told_with_its_line_and_a_remedy(source: str, line: int, problem: str, hint: str) -> None:
    """As `rules check` shows it to somebody who is no programmer."""
    ((found_line, found, found_hint),) = complaints_of(source)

    assert (found_line, found[: len(problem)], found_hint[: len(hint)]) == (line, problem, hint)


def test_all_mistakes_are_told_at_once() -> None:
    """An unknown filter does not hide an unknown name behind it."""
    assert [(line, problem) for line, problem, _ in complaints_of("{{ nam | phon }}\n{{ range(3) }}\n{{ wo }}")] == [
        (1, "unknown filter 'phon'"),
        (1, "unknown name 'nam'"),
        (2, "a template calls nothing"),
        (3, "unknown name 'wo'"),
    ]


@pytest.mark.parametrize("name", sorted([*FIELDS, *OWN_NAMES]))
def test_every_field_and_own_name_can_be_named(name: str) -> None:
    """What the docs promise."""
    assert complaints_of("{{ " + name + " }}") == []


def test_a_template_names_only_what_its_transitions_tell() -> None:
    """A form has no caller's city, where the caller of the check knows what the template is used for."""
    assert complaints_of("{{ form_url }} {{ who }} {{ duration }}", {"alert": ["form_url"]}) == [
        (
            1,
            "unknown name 'duration'",
            "write a field by CallRail's name, like customer_name, or one of our own: docs/templates.md",
        )
    ]


# --- for systems -----------------------------------------------------------------------------------------------------


def test_systems_get_the_fields_and_whose_they_are() -> None:
    """The data names company, object and rule; the key is the delivery's id; what only rules need stays here."""
    message = rendered(Transition.CALL_CHANGED, {"duration": 20, "tags": None, "$received": OCCURRED_AT})

    assert message.key == "dl_1"
    assert message.data() == {
        "company": "acme",
        "object": {"type": "call", "id": "CAL1"},
        "rule": "r",
        "fields": {"duration": 20, "tags": None, **OWN},
    }


def test_systems_get_what_a_change_replaced() -> None:
    """Under `before`, where it is known."""
    message = rendered(Transition.CALL_CHANGED, {"tags": ["Sold"], "$before": {"tags": None, "recording": SECRET_LINK}})

    assert message.data()["fields"] == {"tags": ["Sold"], **OWN}
    assert message.data()["before"] == {"tags": None}


OWN = {"company": "acme", "outcome": None, "stage": "ended"}
SECRET_LINK = "https://app.callrail.com/calls/CAL1/recording/redirect?access_key=0123456789"


@pytest.mark.parametrize("transition", Transition)
@pytest.mark.parametrize(
    "told",
    [
        pytest.param(SECRET_LINK, id="text"),
        pytest.param([SECRET_LINK, SECRET_LINK], id="list"),
        pytest.param({"left": [{"url": SECRET_LINK}]}, id="nested"),
    ],
)
def test_a_link_with_an_access_key_never_leaves_by_itself(transition: Transition, told: object) -> None:
    """Whoever holds such a link can listen; links in lists and blocks used to slip through."""
    names = ("recording", "recording_player", "recording_redirect", "waveforms", "timeline_url")
    facts = {
        **dict.fromkeys(names, told),
        "changes": list(names),
        "$before": dict.fromkeys(names, told),
        "duration": 20,
    }
    message = rendered(transition, facts)

    assert message.data()["fields"] == {"changes": list(names), "duration": 20, **OWN}
    assert "access_key" not in f"{message.data()} {message.text()}"


def test_a_link_with_an_access_key_leaves_where_a_template_asks_for_it() -> None:
    """By its name alone; whoever writes it decides who may listen."""
    facts = {"recording_player": SECRET_LINK}

    assert written("{{ recording_player }}", facts).title == SECRET_LINK
    assert written(
        "x{{ recording_player | link }}{{ now.recording_player }}{{ fields['recording_player'] }}", facts
    ) == (Text("x"))


# --- whatever comes --------------------------------------------------------------------------------------------------

_text = st.text(max_size=40) | st.text("0123456789+-", max_size=14)
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=5,
)


@given(
    st.sampled_from(Transition),
    st.dictionaries(st.sampled_from([*FIELDS, *OWN_NAMES, "$before", "new_field"]), _values, max_size=6),
    st.datetimes(timezones=st.just(UTC)),
    st.sampled_from([escapes.plain, escapes.html, escapes.slack]),
)
@example(Transition.CALL_MISSED, {"company_time_zone": "Asia/Tokyo"}, datetime.max.replace(tzinfo=UTC), escapes.plain)
def test_no_fact_can_break_a_message(
    transition: Transition, facts: dict[str, Any], occurred_at: datetime, escape: escapes.Escape
) -> None:
    """Whatever CallRail may tell, the built-in template itself makes a message, and the data is JSON."""
    message = rendered(transition, facts, occurred_at=occurred_at)
    delivery = delivery_of(transition, facts, occurred_at=occurred_at)
    values = values_of(delivery, delivery.facts)
    text = built_in_templates().render(template_name(transition), values, escape)

    assert text.title
    assert all(text.lines)
    assert all(line == " ".join(line.split()) for line in (text.title, *text.lines))
    assert orjson.loads(orjson.dumps(message.data()))["fields"].keys() <= facts.keys() | OWN.keys()


# --- docs/templates.md -----------------------------------------------------------------------------------------------

DOCS = (Path(__file__).parents[2] / "docs" / "templates.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```(yaml|jinja)\n(.*?)```\n\n```text\n(.*?)```", DOCS, re.DOTALL)


def test_the_page_has_examples() -> None:
    """Each block of a template has the block of what it writes."""
    assert len(EXAMPLES) == DOCS.count("```jinja") + DOCS.count("```yaml") == 5


@pytest.mark.parametrize(("language", "source", "output"), EXAMPLES)
def test_an_example_writes_what_the_page_says(language: str, source: str, output: str) -> None:
    """Over the invented call, or the form or change where it is about one."""
    if language == "yaml":
        source = yaml.safe_load(source)["templates"]["call_missed"]
    transition = Transition.CALL_MISSED
    if "form_data" in source:
        transition = Transition.FORM_SUBMITTED
    elif "changes" in source:
        transition = Transition.CALL_CHANGED
    text = written(source, facts_of(transition), transition)

    assert complaints_of(source) == []
    assert [text.title, *text.lines] == output.splitlines()


@pytest.mark.parametrize("name", sorted([*OWN_NAMES, *FILTERS]))
def test_every_own_name_and_filter_is_documented(name: str) -> None:
    """Who writes a template finds all there is."""
    assert re.search(rf"^\|[^|]*`{name}\b", DOCS, re.MULTILINE)


@pytest.mark.parametrize(
    ("lookup", "line"),
    [
        ({}, None),
        ({"lead_timeline": {"total_interactions": 1}}, None),
        (
            {"lead_timeline": {"total_interactions": 4, "source": "Google Ads", "campaign": "Spring"}},
            "4 contacts so far · came first by Google Ads, Spring",
        ),
        ({"previous_calls": {"count": 3, "missed": 0}, "tracker": {"name": "Billboard"}}, "number Billboard"),
        (
            {"previous_calls": {"count": 3, "missed": 1}, "tracker": {"name": "Pool", "campaign_name": "Spring"}},
            "1 of 3 earlier calls missed · campaign Spring",
        ),
        ({"tracker": "odd", "lead_timeline": {"total_interactions": "many", "source": 7}}, None),
    ],
)
def test_what_was_looked_up_is_a_line_of_the_message(lookup: dict[str, object], line: str | None) -> None:
    delivery = replace(delivery_of(Transition.CALL_MISSED, CALL), details={"lookup": lookup})
    told, without = render(delivery, built_in_templates()).text(), rendered(Transition.CALL_MISSED, CALL).text()
    assert [each for each in told.lines if each not in without.lines] == ([line] if line else [])
