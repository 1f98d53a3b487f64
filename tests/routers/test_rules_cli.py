"""`rules check`, `rules show` and `rules schema`, as an operator and an editor use them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from receiver.positioned_yaml import read
from routers.cli import main
from routers.demo import example_config
from routers.rule_schema import router_schema

BAD = Path(__file__).parent / "bad_config"
FILE = """\
hours: {office: {mon-fri: "08:00-18:00"}}
companies:
  defaults: {hours: office, alerts: terminal}
  acme: {signing_keys: [env:ACME_KEY]}
  globex: {signing_keys: [env:GLOBEX_KEY], alerts: crm}
sinks:
  crm: {type: webhook, url: https://example.com, signing_secrets: [env:CRM_SECRET]}
  terminal: {type: stdout}
templates: {short: A call}
rules:
  - id: missed-open
    name: Missed while we are open
    when: [call.missed, call.voicemail]
    if: {hours: open, first_call: true}
    unless: {source: Test}
    send: [{to: alerts, template: short, expires: 90m}, {to: crm}]
    stop: true
  - {id: answered, companies: [globex], when: [call.answered], send: [{to: crm}], on_late: ignore, max_age: 2h}
  - {id: quiet, when: [text.received], send: [{to: terminal}], mute: true}
unmatched: {calls: alerts}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ACME_KEY", "GLOBEX_KEY"):
        monkeypatch.setenv(name, "a key")
    monkeypatch.setenv("CRM_SECRET", "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    path = tmp_path / "router.yaml"
    path.write_text(FILE)
    return path


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command in this process."""
    with pytest.raises(SystemExit) as left:
        main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    assert isinstance(left.value.code, int)
    return left.value.code, out, err


NOBODY_HEARS = "No rule looks at router.sink_down: nobody is told when a sink fails (docs/rules.md, Alarms)."


# --- check -----------------------------------------------------------------------------------------------------------


def test_a_right_file_is_counted_and_its_warnings_do_not_change_the_exit_code(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Warnings on stderr, the count on stdout, exit code 0."""
    never = "  - {id: never, when: [call.missed], if: {outcome: answered}, send: [{to: crm}]}\n"
    config.write_text(FILE.replace("unmatched:", f"{never}unmatched:"))

    code, out, err = run(capsys, "rules", "check", "--config", config)

    assert (code, out) == (0, f"{config} is right: 2 companies, 2 sinks, 4 rules.\n")
    assert err.startswith(f"Warning: {config}:20:52 (rules[3].if.outcome): outcome is never so here: it is missed; ")
    assert err.splitlines()[1:] == [NOBODY_HEARS]


def test_nothing_is_said_of_alarms_where_a_rule_tells_them(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that sees them, which a rule for some companies does not."""
    rule = "  - {{id: alarms, companies: {}, when: [router.sink_down], send: [{{to: crm}}, {{to: terminal}}]}}\n"
    said = []
    for companies in ("all", "[acme]"):
        config.write_text(FILE.replace("unmatched:", f"{rule.format(companies)}unmatched:"))
        said.append(run(capsys, "rules", "check", "--config", config)[2])

    assert said[0] == ""
    assert NOBODY_HEARS in said[1]
    assert "'router.sink_down' belongs to no company" in said[1]


def test_mistakes_are_rows_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    """-o json has each part by itself, nothing on stderr, and the exit code is 2 all the same."""
    path = BAD / "several_mistakes.yaml"

    code, out, err = run(capsys, "rules", "check", "--config", path, "-o", "json")

    rows = json.loads(out)
    assert (code, err, len(rows)) == (2, "", 5)
    assert rows[0] == {
        "sort": "error",
        "file": str(path),
        "line": 8,
        "column": 20,
        "path": "rules[0].when[0]",
        "problem": "nothing is called 'call.mised'",
        "hint": "did you mean 'call.missed'?",
    }


def test_a_file_that_is_not_there_is_a_mistake_in_json_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever parses the output always finds a list."""
    code, out, _ = run(capsys, "rules", "check", "--config", tmp_path / "none.yaml", "-o", "json")

    assert (code, [row["problem"] for row in json.loads(out)]) == (
        2,
        ["the file cannot be read: no such file or directory"],
    )


# --- show ------------------------------------------------------------------------------------------------------------


def test_the_flat_rules_are_read_out_for_each_company(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the sink that plays the role there, in plain English."""
    code, out, _ = run(capsys, "rules", "show", "--flat", "--config", config, "-o", "json")

    rows = json.loads(out)
    readings = {(row["company"], row["rule"]): row["reading"] for row in rows}
    assert code == 0
    assert list(readings) == [
        ("acme", "missed-open"),
        ("acme", "quiet"),
        ("acme", "unmatched"),
        ("globex", "missed-open"),
        ("globex", "answered"),
        ("globex", "quiet"),
        ("globex", "unmatched"),
    ]
    assert readings["acme", "missed-open"] == (
        "When a call is missed or goes to voicemail, if hours is open and first_call is true, unless source is "
        "Test: tell terminal (role alerts) with template short for at most 90 min, and crm. "
        "Once for each of them, whichever of these comes first. No later rule is asked then."
    )
    assert "tell crm (role alerts) with template short" in readings["globex", "missed-open"]
    assert readings["globex", "answered"] == (
        "When a call was answered: tell crm. What happened more than 2 h ago is not sent."
    )
    assert readings["acme", "quiet"] == (
        "When a text message comes in: tell nobody (muted; else it would tell terminal)."
    )
    assert readings["acme", "unmatched"] == "When no rule has spoken of one of the calls: tell terminal (role alerts)."


def test_the_rules_of_one_company_are_shown(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only hers, and a name that no company has is wrong use."""
    code, out, _ = run(capsys, "rules", "show", "--company", "acme", "--config", config)

    assert code == 0
    assert out.startswith("acme\n\nmissed-open  Missed while we are open\n  When a call is missed or goes")
    assert "globex" not in out
    assert run(capsys, "rules", "show", "--company", "acne", "--config", config)[0] == 2


def test_rules_are_shown_as_written_without_flat(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Once each, with the role instead of the sink."""
    _, out, _ = run(capsys, "rules", "show", "--config", config)

    assert out.count("missed-open") == 1
    assert "the company's alerts" in out


# --- schema ----------------------------------------------------------------------------------------------------------

SCHEMA = router_schema()
VALIDATOR = Draft202012Validator(SCHEMA)


def test_the_schema_is_printed_and_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    """What an editor is given is valid in the draft it names."""
    code, out, _ = run(capsys, "rules", "schema")

    assert (code, json.loads(out)) == (0, SCHEMA)
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("text", [example_config().read_text(), FILE], ids=["example", "everything"])
def test_the_schema_accepts_what_the_reader_accepts(text: str) -> None:
    """The example, and a file with each block."""
    assert [error.message for error in VALIDATOR.iter_errors(yaml.safe_load(text))] == []


def test_the_defaults_of_the_schema_are_written_as_in_the_file() -> None:
    """An editor fills them in: each must be what the reader takes."""
    rule, webhook = SCHEMA["$defs"]["RuleConfig"]["properties"], SCHEMA["$defs"]["WebhookConfig"]["properties"]

    assert (rule["max_age"]["default"], webhook["timeout"]["default"]) == ("24h", "20s")
    assert rule["on_late"]["default"] == "records_only"


# What only `rules check` can tell: what a name leads to, what an operator takes, what two parts say of each other.
SHAPE = [
    "account_literal_key",
    "account_unknown_key",
    "account_without_id",
    "audience_misspelt",
    "bad_signature_off",
    "capitals_in_sink_name",
    "companies_an_empty_list",
    "companies_misspelt_word",
    "concurrency_zero",
    "condition_with_empty_list",
    "defaults_a_list",
    "expires_without_unit",
    "field_of_a_text",
    "hours_a_list",
    "hours_a_number",
    "hours_empty_list",
    "hours_no_day",
    "id_unquoted_number",
    "if_a_list",
    "include_a_text",
    "literal_secret",
    "lookup_settings_wrong",
    "lookups_a_list",
    "max_age_without_unit",
    "mute_in_quotes",
    "no_companies",
    "no_signing_secret",
    "number_in_quotes",
    "object_without_field",
    "on_late_misspelt",
    "repeat_a_number",
    "rule_a_text",
    "rule_without_id",
    "rule_without_when",
    "rules_a_block",
    "send_a_name",
    "send_empty",
    "send_not_a_list",
    "sink_empty",
    "sink_without_type",
    "template_a_block",
    "timeout_without_unit",
    "unknown_field",
    "unknown_field_in_unless",
    "unknown_key",
    "unknown_key_of_a_rule",
    "unknown_key_of_a_send",
    "unknown_operator",
    "unknown_sink_setting",
    "unknown_sink_type",
    "unknown_transition",
    "unmatched_unknown_key",
    "was_not_a_list",
    "when_not_a_list",
    "when_on",
]


@pytest.mark.parametrize("name", SHAPE)
def test_the_schema_refuses_what_has_a_wrong_shape(name: str) -> None:
    """An editor shows these while they are typed; each is a mistake of `rules check` too."""
    assert list(VALIDATOR.iter_errors(read(BAD / f"{name}.yaml").value))
