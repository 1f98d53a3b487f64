"""No template runs on, grows without end or reaches the program, and no value becomes more than text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers import escapes, sandbox
from routers.escapes import html, plain, slack
from routers.filters import MAX_TEXT, as_text
from routers.messages import Text
from routers.sandbox import MAX_ITEMS, MAX_OUTPUT, MAX_PIECES, TemplateFailed
from routers.templates import Templates, built_in_templates, check_templates

CUT = "… cut here: the template writes too much"


def written(source: str, values: dict[str, Any], escape: escapes.Escape = plain) -> Text:
    return Templates.of({"t": source}).render("t", values, escape)


def complaints_of(source: str) -> list[str]:
    found: list[str] = []
    check_templates({"t": source}, lambda _name, _line, problem, _hint: found.append(problem))
    return found


# --- endless and huge ------------------------------------------------------------------------------------------------


class Asked:
    """A value that counts how often a template asks whether it is anything."""

    def __init__(self) -> None:
        self.times = 0

    def __bool__(self) -> bool:
        self.times += 1
        return False


def test_a_loop_in_a_loop_is_stopped_after_a_number_of_passes() -> None:
    """A thousand names a thousand times would be a million passes; those that write nothing count as well."""
    asked = Asked()
    source = "title{% for a in tags %}{% for b in tags %}{% if note %}x{% endif %}{% endfor %}{% endfor %}"

    text = written(source, {"tags": ["x"] * MAX_ITEMS, "note": asked})

    assert text == Text("title", (CUT,))
    assert MAX_PIECES - 20 < asked.times <= MAX_PIECES


def test_a_hundred_megabytes_are_cut() -> None:
    """What is written stops at the cap, and the message says so."""
    text = written(
        "title\n{% for a in tags %}{% for b in tags %}" + "x" * 100 + "\n{% endfor %}{% endfor %}",
        {"tags": ["x"] * 1_000},
    )

    assert text.lines[-1] == CUT
    assert MAX_OUTPUT - 300 < sum(map(len, text.lines[:-1])) <= MAX_OUTPUT


def test_a_text_that_doubles_stops_growing() -> None:
    """Forty lines of `a ~ a` would be a terabyte."""
    source = "title\n{% set a = note %}" + "{% set a = a ~ a %}" * 40 + "{{ a | length }}"

    assert written(source, {"note": "x" * 1_000}).lines == ("10000",)


def test_a_text_joined_by_itself_stops_growing() -> None:
    """Nor does the separator of a list make it longer than a text may be."""
    source = "title\n{% set a = note %}" + "{% set a = [a, a] | join(a) %}" * 40 + "{{ a | length }}"

    (length,) = written(source, {"note": "x" * 1_000}).lines
    assert 1_000 < int(length) <= 10_000


@pytest.mark.parametrize(
    "expression",
    [
        "'x' * 1000000000",
        "[1, 2] * 3",
        "note + note",
        "'%0999999999d' % 3",
        "10 ** 10 ** 10",
        "1e300 * 1e300 * duration",
    ],
)
def test_texts_cannot_be_calculated_with(expression: str) -> None:
    """A gigabyte is nine characters long in Python."""
    with pytest.raises(TemplateFailed):
        written("{{ " + expression + " }}", {"note": "x", "duration": 5})


def test_numbers_cannot_grow() -> None:
    """A number of a million digits takes longer to write than all messages of a day."""
    source = "{% set a = duration %}" + "{% set a = a * a %}" * 40 + "{{ a }}"

    with pytest.raises(TemplateFailed, match="a number grows too large"):
        written(source, {"duration": 1_000})


@pytest.mark.parametrize(
    "source",
    [
        "{% set a = [note, note] %}",
        "{% set a = note | default([note, note]) %}",
        "{% for a in [[note, note]] %}{% endfor %}",
        "{{ [[note]] | join }}",
        "{% set a = [note, note] | first(2) %}",
        "{{ (note or [note]) | join }}",
    ],
)
def test_lists_cannot_grow(source: str) -> None:
    """Lists of lists double with each line, and comparing or writing them would too."""
    assert complaints_of(source) == ["a list cannot stand here"]


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in tags %}" * 30 + "{% endfor %}" * 30,
        "{% if note %}" * 11 + "{% endif %}" * 11,
        "{{ " + "-" * 3_000 + "1 }}",
        "{{ " + "not " * 3_000 + "note }}",
        "{{ note" + " | upper" * 100 + " }}",
        "{{ " + "[" * 3_000,
        "{{ note" + "[note" * 500 + "]" * 500 + " }}",
    ],
)
def test_a_template_nested_without_end_is_refused(source: str) -> None:
    """Neither the check nor Python's compiler is brought down by it."""
    assert set(complaints_of(source)) == {"the template is nested too deeply"}


def test_a_form_of_ten_thousand_fields_makes_a_short_message() -> None:
    """And a template that writes them all is cut."""
    form = {f"field_{number}": "x" * 100 for number in range(10_000)}
    everything = "title\n{% for name, value in form_data | items %}\n{{ name }}: {{ value }}\n{% endfor %}"
    short = built_in_templates().render("form_submitted", {"form_data": form, "company": "acme"})
    long = written(everything, {"form_data": form})

    assert len(short.lines) == 13
    assert short.lines[-1] == "… and more fields"
    assert long.lines[-1] == CUT
    assert sum(map(len, long.lines)) <= MAX_OUTPUT + len(CUT)


def test_a_template_sees_only_so_much_of_a_value() -> None:
    """However large a transcript is, work on it is bounded before it begins."""
    deep: Any = "x"
    for _ in range(60):
        deep = [deep]
    values = {
        "tags": ["x"] * 10_000,
        "transcription": "x" * 10**6,
        "custom": {"a": ["y" * 9_000] * 1_000},
        "answers": deep,
    }

    assert written("{{ tags | length }} {{ transcription | length }}", values).title == "1000 10000"
    assert sum(map(len, sandbox.bounded(values["custom"])["a"])) <= 100_000
    assert str(sandbox.bounded(deep)).count("[") < 12


def test_a_long_text_in_right_to_left_letters_is_kept() -> None:
    """Its marks stay, overrides go, and a notification shows its beginning."""
    content = "\u200f" + "שלום \u202e" * 2_000
    text = built_in_templates().render("text_received", {"content": content, "company": "acme"})
    (said,) = [line for line in text.lines if line.startswith("“")]

    assert said.startswith("“" + content[:4])
    assert "\u202e" not in said
    assert len(said) <= 602


# --- out of the sandbox ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "{{ range(1000000000) }}",
        "{{ note.upper() }}",
        "{{ ''.join(tags) }}",
        "{{ '{0.__class__}'.format(note) }}",
        "{{ lipsum(n=1000) }}",
        "{{ cycler('a').next() }}",
        "{% set ns = namespace(a=1) %}",
        "{% include 'call_missed' %}",
        "{% import 'call_missed' as a %}",
        "{% from 'call_missed' import a %}",
        "{% extends 'call_missed' %}",
        "{% block a %}{% endblock %}",
        "{% macro a() %}{{ a() }}{% endmacro %}",
        "{% call note() %}{% endcall %}",
        "{% filter upper %}a{% endfilter %}",
        "{% set a %}text{% endset %}",
        "{% with a = 1 %}{% endwith %}",
        "{% autoescape false %}{{ note }}{% endautoescape %}",
        "{% for a in tags recursive %}{{ loop(tags) }}{% endfor %}",
        "{% for a in tags if a %}{% endfor %}",
        "{{ note[0:5] }}",
        "{{ ('a', 'b') }}",
        "{{ {'a': 1} }}",
        "{{ note | safe }}",
        "{{ note | attr('upper') }}",
        "{{ tags | map(attribute='x') }}",
        "{{ note | indent(1000000) }}",
        "{{ note | center(1000000) }}",
        "{{ note | format }}",
        "{{ note | pprint }}",
    ],
)
def test_what_a_template_has_no_need_of_is_refused(source: str) -> None:
    """Each way in which Jinja calls, includes, captures or grows."""
    assert complaints_of(source)
    with pytest.raises(TemplateFailed):
        written("title" + source, {"note": "x", "tags": ["x"]})


@pytest.mark.parametrize(
    "path",
    [
        "note.__class__",
        "note['__class__']",
        "note.upper",
        "tags.append",
        "form_data.items",
        "occurred_at.tzinfo",
        "now.fields",
        "self._TemplateReference__context",
        "self",
        "now.get",
        "now.__class__",
        "note.__class__.__mro__[1].__subclasses__",
    ],
)
def test_a_path_never_reaches_python(path: str) -> None:
    """A dotted path goes through told values and nothing else."""
    values = {"note": "x", "tags": ["x"], "form_data": {"a": 1}, "now": sandbox.View({"a": 1})}

    assert written("|{{ " + path + " }}|", values).title == "||"


def test_the_loop_s_own_facts_are_there_and_no_more() -> None:
    """`loop.index` and its like, as Jinja has them."""
    source = "{% for a in tags %}{{ loop.index }}/{{ loop.length }}{{ loop.last }}{{ loop.cycle }} {% endfor %}"

    assert written(source, {"tags": ["a", "b"]}).title == "1/2no 2/2yes"


# --- escaping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("escape", "expected"),
    [
        (plain, '<b> <!channel> & "x" *y*'),
        (html, "<b> &lt;!channel&gt; &amp; &quot;x&quot; *y*"),
        (slack, '<b> &lt;!channel&gt; &amp; "x" *y*'),
    ],
    ids=["plain", "html", "slack"],
)
@pytest.mark.parametrize(
    "source",
    [
        "<b> {{ note }}",
        "<b> {{ note | upper | lower }}",
        "<b> {{ note ~ '' }}",
        "<b> {{ [note] | join }}",
        "<b> {{ tags }}",
        "<b> {% for tag in tags %}{{ tag }}{% endfor %}",
        "<b> {% set a = note %}{{ a }}",
        "<b> {{ note | truncate(100) }}",
    ],
)
def test_values_are_escaped_once_and_the_template_s_own_text_is_not(
    source: str, escape: escapes.Escape, expected: str
) -> None:
    """A caller named `<!channel>` pings nobody, by whatever way the name comes."""
    value = '<!channel> & "x" *y*'

    assert written(source, {"note": value, "tags": [value]}, escape).title == expected


@given(st.text(st.characters(codec=None)))
def test_a_value_never_begins_a_line_or_steers_a_terminal(text: str) -> None:
    """One line, no control character, no override, and text that can be encoded."""
    for escape in (plain, html, slack):
        safe = escape(text)

        assert len(safe.splitlines()) <= 1
        assert not any(
            ord(char) < 32 or 0x7F <= ord(char) < 0xA0 or char in "\u202a\u202e\u2066\u2069" for char in safe
        )
        assert safe.encode().decode() == safe


@given(st.text(st.characters(codec=None)))
def test_in_html_and_slack_no_value_opens_anything(text: str) -> None:
    """Neither a tag nor a mention."""
    assert not set(html(text)) & set("<>\"'")
    assert not set(slack(text)) & set("<>")


@given(
    st.lists(
        st.sampled_from(
            [
                "{{ note }}",
                "{% for a in tags %}",
                "{% endfor %}",
                "{% if note %}",
                "{% endif %}",
                "{{",
                "}}",
                "{{ tags | join(note) }}",
                "{% set a = a ~ note %}",
                "{{ a }}",
                "{% else %}",
                "{#",
                "|",
                "\n",
                "é",
            ]
        )
    )
)
def test_any_template_ends_in_a_text_or_a_failure(parts: list[str]) -> None:
    """What the check lets through renders within the cap."""
    source = "".join(parts)
    values = {"note": "x" * 9_000, "tags": ["y" * 99] * 300}
    try:
        text = written(source, values)
    except TemplateFailed:
        return

    assert len(text.title) + sum(map(len, text.lines)) <= MAX_OUTPUT + len(CUT)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("&<" * MAX_OUTPUT),
        lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=3), parts, max_size=3),
        max_leaves=5,
    ),
    st.sampled_from([plain, html, slack]),
)
def test_a_template_that_is_a_name_is_what_it_would_be_among_others(value: Any, escape: escapes.Escape) -> None:
    """It is written without Jinja, and no other than with it."""
    alone = sandbox.compile_template("{{ note }}", escape)
    among = sandbox.compile_template("{{ note }}{% if other %}{% endif %}", escape)
    assert (alone.is_name, among.is_name) == (True, False)
    for values in ({"note": value}, {}):
        assert alone.write(values, {}) == among.write(values, {})


def test_a_value_of_any_sort_is_text_at_most() -> None:
    """No object shows its address."""
    assert as_text(object()) == ""


def test_filters_whose_results_are_thrown_away_count_too() -> None:
    """Sixteen thousand calls on a long text, nothing of it written: it used to hold the process for seconds."""
    source = "title{% for x in tags %}" + "{% set a = note | upper | upper %}" * 400 + "{% endfor %}"
    assert complaints_of(source) == []

    with pytest.raises(TemplateFailed, match="works too much"):
        written(source, {"tags": ["x"] * 20, "note": "a" * MAX_TEXT})


def test_each_rendering_has_its_own_allowance() -> None:
    """What one message took is not missing in the next."""
    source = "{% for x in tags %}{% set a = note | upper %}{% endfor %}done"
    for _ in range(5):
        assert written(source, {"tags": ["x"] * 100, "note": "a" * MAX_TEXT}).title == "done"
