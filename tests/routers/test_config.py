"""`router.yaml`: what it may say, and each mistake at its place in words its writer can act on."""

from __future__ import annotations

import os
import random
import string
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from receiver.exceptions import ConfigError, ConfigProblem
from receiver.secrets import SecretRef
from routers.audience import Audience
from routers.config import Configuration, check_config, read_config
from routers.demo import example_config
from routers.rules.ruleset import OnLate, To
from routers.transitions import INSTALLATION, Transition
from tests.fakes.receiver_of_webhooks import SECRET

BAD = Path(__file__).parent / "bad_config"
ENVIRON = {"ACME_KEY": "acme-secret", "GLOBEX_KEY": "globex-secret"}

GOLDEN = Path(__file__).parent / "golden" / "config.txt"
BUILTIN = {"missed_call"}
BAD_FILES = sorted([*BAD.glob("*.yaml"), *BAD.glob("*/router.yaml")])


def name_of(path: Path) -> str:
    """A bad file is named after its mistake; where there are several files the folder is."""
    return path.stem if path.parent == BAD else path.parent.name


def told_of(path: Path) -> str:
    """Everything that is said of a bad file, under its name."""
    checked = check_config(path, builtin_templates=BUILTIN)
    told = [f"Error: {problem}" for problem in checked.problems]
    told += [f"Warning: {problem}" for problem in checked.warnings]
    return "\n".join([f"## {name_of(path)}", *told]).replace(f"{path.parent}/", "") + "\n"


def test_every_message_is_the_one_agreed_on() -> None:
    """The golden file holds what each bad file gives; UPDATE_GOLDEN=1 writes it anew, to be read before it is kept."""
    told = "\n".join(told_of(path) for path in BAD_FILES)
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(told)

    assert told.splitlines() == GOLDEN.read_text().splitlines()


@pytest.mark.parametrize("path", BAD_FILES, ids=name_of)
def test_a_bad_file_is_refused_or_warned_of(path: Path) -> None:
    """None of them passes in silence; every line has a place in one of its files and no secret of any."""
    checked = check_config(path, builtin_templates=BUILTIN)

    assert (checked.configuration is None) is bool(checked.problems)
    assert [*checked.problems, *checked.warnings]
    for problem in [*checked.problems, *checked.warnings]:
        assert problem.where.line <= Path(problem.where.file).read_text().count("\n") + 1
        assert "abcdef" not in str(problem)


def test_a_file_that_is_not_there_is_a_mistake_like_any_other(tmp_path: Path) -> None:
    """Its name, and why it cannot be read."""
    with pytest.raises(ConfigError, match=r"router\.yaml:1:1: the file cannot be read: no such file or directory"):
        read_config(tmp_path / "router.yaml")


GOOD = """\
companies:
  acme: {signing_keys: [env:ACME_KEY]}
  globex: {signing_keys: [env:GLOBEX_KEY, {secret: file:/run/secrets/old, until: 2026-12-31}]}
  initech: {signing_keys: [env:ACME_KEY]}
sinks:
  crm: {type: webhook, url: env:CRM_URL, signing_secrets: [env:CRM_SECRET], timeout: 500ms, concurrency: 2, retry: [1s]}
  terminal: {type: stdout}
rules:
  - id: all
    when: [call.missed]
    send: [{to: crm}, {to: terminal, id: shown}]
  - id: named
    name: A rule for one company
    companies: [acme]
    when: [call.missed, call.voicemail]
    if: {first_call: true, duration: {gt: 10}}
    unless: {spam: true}
    send: [{to: terminal}]
  - id: the-others
    companies: {except: [acme, initech]}
    when: [form.submitted]
    send: [{to: terminal}]
"""


def config_of(tmp_path: Path, text: str) -> Configuration:
    path = tmp_path / "router.yaml"
    path.write_text(text)
    return read_config(path)


def test_a_good_file_says_what_it_says(tmp_path: Path) -> None:
    """Rules in their order, with companies, transitions, conditions and sends as written."""
    configuration = config_of(tmp_path, GOOD)

    every, named, others = configuration.rules.rules
    assert [rule.id for rule in configuration.rules.rules] == ["all", "named", "the-others"]
    assert [rule.companies for rule in (every, named, others)] == [None, {"acme"}, {"globex"}]
    assert named.when == {Transition.CALL_MISSED, Transition.CALL_VOICEMAIL}
    assert every.send == (To("crm", "crm"), To("shown", "terminal"))
    assert [condition.field for condition in named.conditions] == ["first_call", "duration"]
    assert [condition.field for condition in named.exceptions] == ["spam"]
    assert not every.conditions


def test_a_sink_has_the_settings_written_and_the_defaults_of_its_audience(tmp_path: Path) -> None:
    """People are told soon or not at all, systems in the end, and `retry` replaces the waits."""
    sinks = config_of(tmp_path, GOOD).sink_configs

    crm, terminal = sinks["crm"], sinks["terminal"]
    assert (crm.timeout, crm.concurrency, crm.schedule) == (timedelta(milliseconds=500), 2, (timedelta(seconds=1),))
    assert (terminal.timeout, terminal.concurrency) == (timedelta(seconds=20), 8)
    assert (crm.audience, terminal.audience) == (Audience.SYSTEMS, Audience.PEOPLE)
    assert terminal.schedule[0] == timedelta(seconds=2)


def test_secrets_are_references_until_they_are_needed(tmp_path: Path) -> None:
    """A file can be checked where no secret is; what is missing is then told with its place."""
    configuration = config_of(tmp_path, GOOD)

    assert configuration.signing_key_references() == [
        SecretRef("env", "ACME_KEY"),
        SecretRef("env", "GLOBEX_KEY"),
        SecretRef("file", "/run/secrets/old"),
        SecretRef("env", "ACME_KEY"),
    ]
    problems = [str(problem).partition(":")[2] for problem in configuration.missing_secrets(ENVIRON)]
    assert problems == [
        (
            "3:52 (companies.globex.signing_keys[1].secret): the file /run/secrets/old does not exist; "
            "create it with the secret as its only line"
        ),
        "6:8 (sinks.crm): the environment variable CRM_URL is not set; set it where the router is started",
    ]


def test_a_secret_that_cannot_be_one_is_told_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sink's place and what a secret looks like; never what was found."""
    monkeypatch.setenv("CRM_URL", "https://example.com")
    monkeypatch.setenv("CRM_SECRET", SECRET[:-4])

    (problem,) = [
        problem for problem in config_of(tmp_path, GOOD).missing_secrets(ENVIRON) if problem.where.path == "sinks.crm"
    ]

    assert problem.problem.startswith("a webhook signing secret is whsec_ followed by the base64")
    assert SECRET[6:-4] not in str(problem)


def test_the_hash_of_the_rules_follows_the_text(tmp_path: Path) -> None:
    """Stored with each verdict: the same file has the same hash, a changed one another."""
    first, again = config_of(tmp_path, GOOD).rules.hash, config_of(tmp_path, GOOD).rules.hash

    assert first == again != config_of(tmp_path, GOOD + "# a comment\n").rules.hash


EVERYTHING = """\
accounts: {main: {account_id: ACC1, api_key: env:API_KEY}}
hours:
  office: {mon-fri: "08:00-18:00", closed: [2026-12-25]}
  late: {mon-sun: ["12:00-14:00", "18:00-02:00"]}
companies:
  defaults: {account: main, hours: office, time_zone: America/New_York, alerts: terminal, records: crm}
  acme: {signing_keys: [env:ACME_KEY], hours: late, alerts: crm}
  globex: {signing_keys: [env:GLOBEX_KEY], time_zone: null, hours: null, records: null}
sinks:
  crm: {type: webhook, url: env:CRM_URL, signing_secrets: [env:CRM_SECRET]}
  terminal: {type: stdout}
templates:
  short: A call
  long: |
    A call
    from {{ customer_name }}
templates_folder: texts
unmatched: {calls: alerts, forms: crm}
rules:
  - id: missed
    was: [missed-calls]
    companies: [acme]
    when: [call.missed, call.voicemail]
    if: {hours: open}
    send: [{to: alerts, template: long, expires: 2h}, {to: records, template: from-a-file}]
    stop: true
    repeat: true
    mute: true
    on_late: ignore
    max_age: 90m
  - {id: all, when: [call.missed], send: [{to: alerts, template: short}, {to: records}]}
"""


def everything(tmp_path: Path, text: str = EVERYTHING) -> Configuration:
    (tmp_path / "texts").mkdir(exist_ok=True)
    (tmp_path / "texts" / "from-a-file.jinja").write_text("A call\n")
    return config_of(tmp_path, text)


def test_a_rule_has_all_that_is_written_of_it(tmp_path: Path) -> None:
    """Each key of a rule reaches the compiled rule."""
    rule, plain = everything(tmp_path).rules.rules

    assert (rule.previous, rule.stop, rule.repeat, rule.mute) == (("missed-calls",), True, True, True)
    assert (rule.on_late, rule.max_age) == (OnLate.IGNORE, timedelta(minutes=90))
    assert rule.send == (
        To("alerts", "alerts", is_role=True, template="long", expires=timedelta(hours=2)),
        To("records", "records", is_role=True, template="from-a-file"),
    )
    assert (plain.stop, plain.repeat, plain.mute) == (False, False, False)
    assert (plain.on_late, plain.max_age) == (OnLate.RECORDS_ONLY, timedelta(hours=24))


def test_defaults_hold_where_a_company_does_not_say_otherwise(tmp_path: Path) -> None:
    """Account, hours, zone and roles; `null` takes one away."""
    configuration = everything(tmp_path)

    acme, globex = configuration.company_configs["acme"], configuration.company_configs["globex"]
    assert (acme.account, acme.time_zone, globex.account) == ("main", "America/New_York", "main")
    assert configuration.rules.roles == {
        "acme": {"alerts": "crm", "records": "crm"},
        "globex": {"alerts": "terminal"},
        INSTALLATION: {"alerts": "terminal", "records": "crm"},
    }
    assert configuration.rules.hours.get("acme") == configuration.schedules["late"]
    assert configuration.rules.hours.get("globex") is None
    assert configuration.rules.hours.get("nobody") is None
    assert configuration.rules.zones.get("acme") == "America/New_York"
    assert configuration.rules.zones.get("globex") is None
    assert configuration.rules.zones.get("nobody") is None
    assert configuration.rules.zones[INSTALLATION] == "America/New_York"


def test_a_send_leads_to_the_sink_of_the_company(tmp_path: Path) -> None:
    """And what no rule speaks of to that of `unmatched`."""
    rules = everything(tmp_path).rules
    every = rules.rules[1]

    assert [send.sink for send in rules.sends_of(every, "acme")] == ["crm", "crm"]
    assert [send.sink for send in rules.sends_of(every, "globex")] == ["terminal"]
    unmatched = rules.unmatched("globex", Transition.CALL_ANSWERED)
    assert unmatched is not None
    assert (unmatched.id, unmatched.sink) == ("unmatched", "terminal")
    assert rules.unmatched("globex", Transition.TEXT_RECEIVED) is None


def test_templates_are_handed_on_as_texts(tmp_path: Path) -> None:
    """Those of the file and of the folder, each with its place; the hash follows them."""
    configuration = everything(tmp_path)
    (tmp_path / "texts" / "from-a-file.jinja").write_text("Another call\n")

    assert dict(configuration.templates) == {
        "short": "A call",
        "long": "A call\nfrom {{ customer_name }}\n",
        "from-a-file": "A call\n",
    }
    assert str(configuration.template_places["short"]) == f"{tmp_path}/router.yaml:13:10 (templates.short)"
    assert config_of(tmp_path, EVERYTHING).rules.hash != configuration.rules.hash


def test_a_mistake_in_a_template_is_told_at_its_line(tmp_path: Path) -> None:
    """In a text after `|`, in a text on one line, and in a file of the folder; with the fields its rules can tell."""
    seen: dict[str, Collection[str]] = {}

    def check(
        texts: Mapping[str, str],
        complain: Callable[[str, int, str, str], None],
        *,
        fields: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        seen.update(fields or {})
        for name, text in texts.items():
            complain(name, len(text.splitlines()), "wrong", "write it anew")

    everything(tmp_path)
    checked = check_config(tmp_path / "router.yaml", check_templates=check)

    assert [str(problem).removeprefix(f"{tmp_path}/") for problem in checked.problems] == [
        "router.yaml:13:10 (templates.short): wrong; write it anew",
        "router.yaml:16:1 (templates.long): wrong; write it anew",
        "texts/from-a-file.jinja:1:1: wrong; write it anew",
    ]
    assert seen.keys() == {"short", "long", "from-a-file"}
    assert "duration" in seen["long"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        pytest.param("short", b"x", "a second template 'short': ", id="name-of-the-file"),
        pytest.param("latin", "caf\xe9".encode("latin-1"), "cannot be read as text; save it as UTF-8", id="no-utf-8"),
        pytest.param("long-file", b"x" * 100_001, "is longer than 100,000 bytes; shorten it", id="too-long"),
    ],
)
def test_a_template_file_that_cannot_be_used_is_a_mistake(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    """Told at the folder's name."""
    everything(tmp_path)
    (tmp_path / "texts" / f"{name}.jinja").write_bytes(content)

    (problem,) = problems_of(tmp_path / "router.yaml")

    assert problem.where.path == "templates_folder"
    assert sentence in str(problem)


def test_a_missing_api_key_is_told(tmp_path: Path) -> None:
    """Like any other secret, where it is referred to."""
    problems = everything(tmp_path).missing_secrets(ENVIRON)

    assert "1:46 (accounts.main.api_key): the environment variable API_KEY is not set" in "\n".join(map(str, problems))


# --- the example -----------------------------------------------------------------------------------------------------


def test_the_example_is_right() -> None:
    """What `make run` starts with: nothing to warn of, each company has its own alerts, and both keep one record."""
    checked = check_config(example_config())
    assert checked.configuration is not None
    configuration = checked.configuration

    assert list(checked.warnings) == []
    assert configuration.rules.roles == {
        "example-plumbing": {"alerts": "plumbing-calls", "records": "office-mail"},
        "example-heating": {"alerts": "heating-calls", "records": "office-mail"},
        INSTALLATION: {"records": "office-mail"},
    }
    assert {name: sink.type for name, sink in configuration.sink_configs.items()} == {
        "plumbing-calls": "slack",
        "heating-calls": "slack",
        "office-mail": "email",
        "crm": "hubspot",
    }


EXAMPLE = example_config().read_text()
_fragments = st.text("{}[]:,&*!|>'\"-#\n\t %@`", max_size=3) | st.sampled_from(
    ["null", "~", "[]", "{}", "&a ", "*a", "<<: *a", "!!python/object:os.system", "9" * 400, "1e999", "\ufeff", "\x00"]
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """The example with some of it cut out, doubled, moved or replaced."""
    text = draw(st.sampled_from([EXAMPLE + GOOD.partition("sinks:")[2], EVERYTHING]))
    rng = draw(st.randoms(use_true_random=False))
    for _ in range(draw(st.integers(1, 4))):
        begin, end = sorted(rng.sample(range(len(text)), 2))
        end = min(end, begin + rng.choice([0, 1, 10, 200]))
        text = text[:begin] + draw(_fragments) * rng.choice([0, 1, 2]) + text[end:]
    return text


@settings(max_examples=300)
@given(mutated() | st.text(max_size=80) | st.text(string.printable, max_size=80))
@example(
    "companies:\n  a: {signing_keys: [env:A]}\nrules: [{id: x, when: [call.missed], if: {? [a] : b}, send: [{to: t}]}]"
)
def test_whatever_a_file_says_it_is_right_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """Nothing else ever comes out, and each problem has its place in the file."""
    path = tmp_path_factory.getbasetemp() / f"mutated{random.getrandbits(32)}.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    for problem in problems_of(path):
        assert problem.where.file == str(path)
        breaks = text.count("\n") + text.count("\r")  # both end a line in YAML
        assert 1 <= problem.where.line <= breaks + 2
        assert problem.where.column >= 1
        assert "\n" not in problem.problem
    path.unlink()


def problems_of(path: Path) -> list[ConfigProblem]:
    try:
        read_config(path)
    except ConfigError as error:
        return error.problems
    return []
