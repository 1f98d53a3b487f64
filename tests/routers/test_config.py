"""`router.yaml`: what it may say, and each mistake at its place in words its writer can act on."""

from __future__ import annotations

import random
import string
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from receiver.exceptions import ConfigError, ConfigProblem
from receiver.secrets import SecretRef
from routers.config import Configuration, read_config
from routers.demo import example_config
from routers.rules.ruleset import Send
from routers.sinks.config import Audience
from routers.transitions import Transition
from tests.fakes.receiver_of_webhooks import SECRET

BAD = Path(__file__).parent / "bad_config"
ENVIRON = {"ACME_KEY": "acme-secret", "GLOBEX_KEY": "globex-secret"}

REFUSED = {
    "alias_bomb": [
        "1:32 (e[3][3][8][8][8]): more than 50,000 values, each use of an alias (*) counted; use fewer",
    ],
    "alias_of_itself": [
        ("1:12 (companies.acme): an alias (*) stands inside the anchor (&) it repeats; write the values out"),
    ],
    "audience_misspelt": [
        ("4:33 (sinks.crm.audience): expected 'people' or 'systems', found something else; did you mean 'people'?"),
    ],
    "capitals_in_sink_name": [
        "4:3 (sinks.CRM): a name is 1 to 64 small letters, digits, '-' and '_', no '-' or '_' first",
    ],
    "companies_an_empty_list": [
        "11:16 (rules[0].companies): too few entries: 1 or more wanted, found 0",
        "11:16 (rules[0].companies): expected 'all' or a block of key: value lines, found a list",
    ],
    "companies_misspelt_word": [
        ("11:16 (rules[0].companies): expected 'all' or a list or a block of key: value lines, found something else"),
    ],
    "concurrency_zero": [
        "4:36 (sinks.crm.concurrency): must be 1 or more",
    ],
    "condition_with_empty_list": [
        "11:18 (rules[0].if.source): an empty list matches nothing; name at least one value",
    ],
    "condition_without_value": [
        "11:18 (rules[0].if.source): no value; to ask whether a field is empty, write {exists: false}",
    ],
    "duplicate_key": [
        "11:5 (rules[0]): the key 'when' is already on line 9; keep one of them",
    ],
    "duplicate_rule_id": [
        "11:10 (rules[1].id): a second rule with the id 'missed'; an id names one rule",
    ],
    "empty": [
        "1:1: 'companies' is missing",
    ],
    "field_of_a_text": [
        "11:10 (rules[0].if.source.name): 'source' has no fields of its own; write source",
    ],
    "if_a_list": [
        "11:9 (rules[0].if): expected a block of key: value lines, found a list",
    ],
    "literal_secret": [
        "4:68 (sinks.crm.signing_secrets[0]): a secret must be a reference: env:NAME or file:/path",
    ],
    "no_companies": [
        "1:1: 'companies' is missing",
    ],
    "no_signing_secret": [
        "4:3 (sinks.crm): 'signing_secrets' is missing",
    ],
    "number_in_quotes": [
        "11:20 (rules[0].if.duration): '60' does not fit this field; write a number",
    ],
    "object_without_field": [
        "11:10 (rules[0].if.form_data): 'form_data' holds several fields; name one, like form_data.name",
    ],
    "phone_unquoted": [
        "11:33 (rules[0].if.customer_phone_number): this is read as a number; quote it: '+14045550100'",
    ],
    "phones_unquoted_in_a_list": [
        ("11:50 (rules[0].if.customer_phone_number[1]): this is read as a number; quote it: '+14045550101'"),
    ],
    "rule_without_id": [
        "8:5 (rules[0]): 'id' is missing",
    ],
    "rule_without_send": [
        "8:5 (rules[0]): 'send' is missing",
    ],
    "rule_without_when": [
        "8:5 (rules[0]): 'when' is missing",
    ],
    "rules_a_block": [
        "7:8 (rules): expected a list, found a block of key: value lines",
    ],
    "same_sink_twice": [
        "10:23 (rules[0].send[1]): this rule sends to 'crm' twice; give each of them an id",
    ],
    "send_not_a_list": [
        "10:11 (rules[0].send): expected a list, found text",
    ],
    "several_mistakes": [
        "8:20 (rules[0].when[0]): nothing is called 'call.mised'; did you mean 'call.missed'?",
        "8:38 (rules[0].if.sorce): unknown field 'sorce'; did you mean 'source'?",
        "8:61 (rules[0].send[0].to): there is no sink 'crn'; did you mean 'crm'?",
        "9:10 (rules[1].id): a second rule with the id 'a'; an id names one rule",
        "9:25 (rules[1].companies[0]): there is no company 'globx'; did you mean 'globex'?",
    ],
    "sink_empty": [
        "4:7 (sinks.crm): expected a block of key: value lines, found nothing",
    ],
    "sink_type_a_list": [
        "4:15 (sinks.crm.type): unknown sink type '['webhook']'; did you mean 'webhook'?",
    ],
    "sink_without_type": [
        "4:8 (sinks.crm): 'type' is missing; there are: stdout, webhook",
    ],
    "tab": [
        "8:1: a tab; indent with spaces",
    ],
    "text_for_a_boolean": [
        "11:22 (rules[0].if.first_call): 'yes' does not fit this field; write true or false",
    ],
    "timeout_too_long": [
        "4:32 (sinks.crm.timeout): a timeout is longer than 0s and at most 2m",
    ],
    "timeout_without_unit": [
        ("4:32 (sinks.crm.timeout): 5 is no duration; write a number and a unit, like 500ms, 30s, 5m or 2h"),
    ],
    "timeout_zero": [
        "4:32 (sinks.crm.timeout): a timeout is longer than 0s and at most 2m",
    ],
    "unknown_company": [
        "11:23 (rules[0].companies[1]): there is no company 'globx'; did you mean 'globex'?",
    ],
    "unknown_company_excepted": [
        "11:26 (rules[0].companies.except[0]): there is no company 'globx'; did you mean 'globex'?",
    ],
    "unknown_field": [
        "11:10 (rules[0].if.sorce): unknown field 'sorce'; did you mean 'source'?",
    ],
    "unknown_field_in_unless": [
        "11:14 (rules[0].unless.spamm): unknown field 'spamm'; did you mean 'spam'?",
    ],
    "unknown_key": [
        "7:1 (rulez): unknown key 'rulez'; did you mean 'rules'?",
    ],
    "unknown_key_of_a_rule": [
        "11:5 (rules[0].whne): unknown key 'whne'; did you mean 'when'?",
    ],
    "unknown_operator": [
        (
            "11:21 (rules[0].if.duration.over): unknown operator 'over'; there are: not, prefix, suffix, contains, "
            "matches, gt, gte, lt, lte, between, exists, changed, added, removed, phone_in, within"
        ),
    ],
    "unknown_sink": [
        "10:17 (rules[0].send[0].to): there is no sink 'crn'; did you mean 'crm'?",
    ],
    "unknown_sink_setting": [
        "4:23 (sinks.crm.timeuot): unknown key 'timeuot'; did you mean 'timeout'?",
    ],
    "unknown_sink_type": [
        "4:15 (sinks.crm.type): unknown sink type 'webhok'; did you mean 'webhook'?",
    ],
    "unknown_sink_type_unlike_any": [
        "4:15 (sinks.crm.type): unknown sink type 'fax'; there are: stdout, webhook",
    ],
    "unknown_sink_unlike_any": [
        "10:17 (rules[0].send[0].to): there is no sink 'slack'; name it under sinks:",
    ],
    "unknown_transition": [
        "9:12 (rules[0].when[0]): nothing is called 'call.mised'; did you mean 'call.missed'?",
    ],
    "unknown_transition_unlike_any": [
        (
            "9:12 (rules[0].when[0]): nothing is called 'everything'; there are: call.ringing, call.routed, "
            "call.ended, call.answered, call.missed, call.abandoned, call.voicemail, call.recording_ready, "
            "call.transcript_ready, call.changed, call.spam, call.corrected, outbound.answered, outbound.unanswered, "
            "outbound.changed, text.received, text.sent, form.submitted, assist.completed, assist.answered, "
            "unknown.received"
        ),
    ],
    "url_not_http": [
        ("4:29 (sinks.crm.url): a URL begins with https:// (or is a reference to one: env:NAME or file:/path)"),
    ],
    "url_without_scheme": [
        ("4:29 (sinks.crm.url): a URL begins with https:// (or is a reference to one: env:NAME or file:/path)"),
    ],
    "when_not_a_list": [
        "9:11 (rules[0].when): expected a list, found text",
    ],
}


@pytest.mark.parametrize(("name", "sentences"), REFUSED.items(), ids=REFUSED)
def test_a_mistake_is_told_at_its_place_with_a_remedy(name: str, sentences: list[str]) -> None:
    """Each bad file gives exactly these lines, all at once and in file order."""
    path = BAD / f"{name}.yaml"

    with pytest.raises(ConfigError) as caught:
        read_config(path)

    assert str(caught.value).splitlines() == [f"{path}:{sentence}" for sentence in sentences]


def test_every_bad_file_is_tried() -> None:
    """A file that nobody reads proves nothing."""
    assert {path.stem for path in BAD.iterdir()} == set(REFUSED)


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
    assert every.send == (Send("crm", "crm"), Send("shown", "terminal"))
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


# --- the example -----------------------------------------------------------------------------------------------------


def test_the_example_is_right() -> None:
    """What `make run` starts with: loads, and every rule of it sends to the terminal."""
    configuration = read_config(example_config())

    assert {sink.type for sink in configuration.sink_configs.values()} == {"stdout"}
    assert {send.sink for rule in configuration.rules.rules for send in rule.send} == {"terminal"}
    assert len(configuration.company_configs) == 2


EXAMPLE = example_config().read_text()
_fragments = st.text("{}[]:,&*!|>'\"-#\n\t %@`", max_size=3) | st.sampled_from(
    ["null", "~", "[]", "{}", "&a ", "*a", "<<: *a", "!!python/object:os.system", "9" * 400, "1e999", "\ufeff", "\x00"]
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """The example with some of it cut out, doubled, moved or replaced."""
    text = EXAMPLE + GOOD.partition("sinks:")[2]
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
        assert 1 <= problem.where.line <= text.count("\n") + 2
        assert problem.where.column >= 1
        assert "\n" not in problem.problem
    path.unlink()


def problems_of(path: Path) -> list[ConfigProblem]:
    try:
        read_config(path)
    except ConfigError as error:
        return error.problems
    return []
