"""What to paste in CallRail for the rules there are, and whether the first webhooks come."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from callrail.kinds import Kind
from receiver.arrivals import Arrival, arrivals_since, newest_id
from receiver.events import ReceivedRequest, insert_quarantined
from receiver.ids import Prefix, new_id
from receiver.schema import QuarantineReason, quarantine
from routers.cli.urls import Watch
from routers.config import read_config
from routers.transitions import ALARMS, Transition
from routers.urls import CALLRAIL_FIELD, FEEDS, Need, checked_base_url, urls_of, wanted_transitions
from tests.client import post, post_signed
from tests.routers.running import KEY, Process, run, running
from tests.routers.store import opened, receive, rows_of

BASE = "https://hooks.example.com"
AT = datetime(2026, 5, 4, 13, 30, tzinfo=UTC)

RULES = """\
companies:
  acme: {signing_keys: [env:ACME_KEY]}
  globex: {signing_keys: [env:ACME_KEY]}
  initech: {signing_keys: [env:ACME_KEY]}
sinks:
  terminal: {type: stdout}
rules:
  - {id: missed, when: [call.missed], send: [{to: terminal}]}
  - {id: wrote, when: [text.received, form.submitted], companies: [acme], send: [{to: terminal}]}
  - {id: changed, when: [call.changed], companies: {except: [acme]}, send: [{to: terminal}]}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "router.yaml"
    path.write_text(RULES)
    return path


def needs(*wanted: Transition) -> dict[Kind, Need]:
    return {one.kind: one.need for one in urls_of("acme", wanted, base_url=BASE)}


# --- which kinds -----------------------------------------------------------------------------------------------------


def test_every_transition_is_fed_by_kinds_that_have_a_url() -> None:
    """A rule may listen to anything, and this command knows what that takes."""
    assert set(FEEDS) == set(Transition)
    fed = {kind for feed in FEEDS.values() for kind in feed.needs}
    assert fed == set(CALLRAIL_FIELD)
    assert {name for name, feed in FEEDS.items() if not feed.needs} == {Transition.UNKNOWN_RECEIVED, *ALARMS}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param([], {Kind.POST_CALL: "recommended", Kind.CALL_MODIFIED: "recommended"}, id="no-rule"),
        pytest.param(
            [Transition.CALL_MISSED],
            {Kind.PRE_CALL: "better with it", Kind.POST_CALL: "needed", Kind.CALL_MODIFIED: "recommended"},
            id="an-ended-call",
        ),
        pytest.param(
            [Transition.CALL_RINGING, Transition.CALL_MISSED],
            {Kind.PRE_CALL: "needed", Kind.POST_CALL: "needed", Kind.CALL_MODIFIED: "recommended"},
            id="needed-beats-better",
        ),
        pytest.param(
            [Transition.CALL_CHANGED],
            {Kind.POST_CALL: "better with it", Kind.CALL_MODIFIED: "needed"},
            id="a-changed-call",
        ),
        pytest.param(
            [Transition.OUTBOUND_CHANGED],
            {
                Kind.POST_CALL: "recommended",
                Kind.CALL_MODIFIED: "recommended",
                Kind.OUTBOUND_POST_CALL: "better with it",
                Kind.OUTBOUND_CALL_MODIFIED: "needed",
            },
            id="outbound",
        ),
        pytest.param(
            [Transition.UNKNOWN_RECEIVED],
            {Kind.POST_CALL: "recommended", Kind.CALL_MODIFIED: "recommended"},
            id="unknown",
        ),
    ],
)
def test_the_rules_say_which_kinds_are_needed(wanted: list[Transition], expected: dict[Kind, str]) -> None:
    """Post-call and call-modified are always among them."""
    assert needs(*wanted) == expected


@pytest.mark.parametrize("transition", Transition)
def test_what_a_transition_needs_is_always_listed(transition: Transition) -> None:
    """Marked as needed, and with the transition as the reason."""
    listed = {one.kind: one for one in urls_of("acme", [transition], base_url=BASE)}

    for kind in FEEDS[transition].needs:
        assert listed[kind].need is Need.NEEDED
        assert listed[kind].because == (transition,)
        assert listed[kind].url == f"{BASE}/callrail/acme/{kind}"


def test_only_the_rules_of_the_company_count(config: Path) -> None:
    """Those for all, those that name it, and those that do not except it."""
    configuration = read_config(config)

    assert wanted_transitions(configuration, "acme") == {"call.missed", "text.received", "form.submitted"}
    assert wanted_transitions(configuration, "globex") == {"call.missed", "call.changed"}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("https://hooks.example.com", "https://hooks.example.com"),
        ("https://hooks.example.com/", "https://hooks.example.com"),
        ("http://[::1]:8080/behind/", "http://[::1]:8080/behind"),
        ("http://127.0.0.1:65535//", "http://127.0.0.1:65535"),
        ("https://bücher.example", "https://bücher.example"),
        ("https://my-host_2.example./a/b-c.d", "https://my-host_2.example./a/b-c.d"),
    ],
)
def test_a_base_url_loses_its_last_slash(written: str, expected: str) -> None:
    """A port and a path in front are kept."""
    assert checked_base_url(written) == expected


@pytest.mark.parametrize(
    "written",
    [
        *("hooks.example.com", "ftp://hooks.example.com", "https://", "https://a b", "https://h.example/?x=1"),
        *("https://h.example/#x", "https://h.example?", "https://h.example#", "https://[::1", "https://[::g]", ""),
        *("https://[::1]x", "https://1.2.3.999", "https://1.2.3", "https://h..example", "https://-h.example"),
        *("https://h.example/a\\b", "https://h.example/<b>", "https://h.example/a//b", "https:/h.example"),
        *(" https://h.example", "https://h.example\n", "https://h'.example", "https://" + "a." * 127 + "example"),
    ],
)
def test_what_nobody_can_post_to_is_no_base_url(written: str) -> None:
    """Nothing is printed that would be pasted in vain."""
    with pytest.raises(ValueError, match=r"is not where your server is reached; write it like https://hooks\.example"):
        checked_base_url(written)


@pytest.mark.parametrize("port", ["99999", "65536", "0", "-1", "80:90", "http", ""])
def test_a_port_that_there_is_not_is_told_as_such(port: str) -> None:
    """`https://x:99999` looks right at first sight."""
    with pytest.raises(ValueError, match="is none from 1 to 65535; write it like https://"):
        checked_base_url(f"https://h.example:{port}")


@pytest.mark.parametrize("written", ["https://user:secret@h.example", "https://user:secret@h.example:99999"])
def test_a_password_in_a_base_url_is_not_repeated(written: str) -> None:
    """Neither in what is pasted nor in the sentence that refuses it."""
    with pytest.raises(ValueError, match="has no name or password in it; write it like") as refused:
        checked_base_url(written)

    assert "secret" not in str(refused.value)


# --- the store -------------------------------------------------------------------------------------------------------


def test_arrivals_are_the_first_of_each_kind_since_then(database_url: str) -> None:
    """Of this company; refused ones also of companies that nobody knows; nothing that was there before."""

    def refuse(company: str, kind: str, reason: QuarantineReason) -> None:
        request = ReceivedRequest(AT, company, kind, "application/json", {}, b"{}")
        insert_quarantined(conn, new_id(Prefix.EVENT), request, reason, None)

    with opened(database_url) as database, database.writing.begin() as conn:
        assert newest_id(conn) == ""
        receive(conn, "pre_call", {"resource_id": "CAL1"})
        refuse("acme", "pre_call", QuarantineReason.SIGNATURE_MISSING)
        marker = newest_id(conn)
        assert arrivals_since(conn, marker, company="acme") == []

        receive(conn, "post_call", {"resource_id": "CAL2"})
        receive(conn, "post_call", {"resource_id": "CAL3"})
        receive(conn, "text_sent", {"resource_id": "SCI4"}, company="globex")
        refuse("acme", "post_call", QuarantineReason.SIGNATURE_WRONG)
        refuse("acme", "post_call", QuarantineReason.SIGNATURE_WRONG)
        refuse("globex", "post_call", QuarantineReason.SIGNATURE_WRONG)
        refuse("acem", "form_submission", QuarantineReason.COMPANY_UNKNOWN)
        found = arrivals_since(conn, marker, company="acme")

    assert sorted((one.company, one.kind, one.refused) for one in found if one.refused) == [
        ("acem", "form_submission", "company_unknown"),
        ("acme", "post_call", "signature_wrong"),
    ]
    assert [(one.company, one.kind) for one in found if not one.refused] == [("acme", "post_call")]
    assert {one.received_at for one in found if one.refused} == {AT}


# --- what is told while waiting --------------------------------------------------------------------------------------


@pytest.fixture
def watch() -> Watch:
    """Waits for the post-call and the call-modified of acme."""
    return Watch("acme", urls_of("acme", [], base_url=BASE))


def test_each_kind_is_ticked_off_once(watch: Watch) -> None:
    """By CallRail's name, with the time of its first webhook."""
    arrival = Arrival("acme", "post_call", AT)

    assert list(watch.see([arrival])) == ["✓ 2026-05-04 13:30:00  Post-Call"]
    assert list(watch.see([arrival])) == []
    assert watch.missing_text == "Call Modified"


def test_what_was_not_waited_for_is_told_too(watch: Watch) -> None:
    """A kind no rule needs, and a URL that was pasted wrongly; neither ends the waiting."""
    told = list(watch.see([Arrival("acme", "text_sent", AT), Arrival("acme", "unknown", AT)]))

    assert told == [
        "✓ 2026-05-04 13:30:00  Text Message Sent, which no rule needs",
        "? 2026-05-04 13:30:00  A webhook came to a URL whose last part is no kind we know; paste the URL once more.",
    ]
    assert watch.missing_text == "Post-Call, Call Modified"


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        (QuarantineReason.SIGNATURE_WRONG, "Compare the signing key in CallRail"),
        (QuarantineReason.SIGNATURE_MISSING, "drops the header Signature"),
        (QuarantineReason.COMPANY_MISMATCH, "whether callrail_id in router.yaml is right"),
        (QuarantineReason.COMPANY_UNKNOWN, "a typing mistake in the pasted URL"),
    ],
)
def test_what_is_in_quarantine_says_what_to_check(watch: Watch, reason: QuarantineReason, advice: str) -> None:
    """It does not count as having come; that it comes rightly afterwards does."""
    (line,) = watch.see([Arrival("acme", "post_call", AT, reason)])

    assert line.startswith("✗ 2026-05-04 13:30:00  Post-Call came, but is in quarantine: ")
    assert advice in line
    assert watch.missing_text == "Post-Call, Call Modified"
    assert len(list(watch.see([Arrival("acme", "post_call", AT, reason), Arrival("acme", "post_call", AT)]))) == 1
    assert watch.missing_text == "Call Modified"


def test_a_strangers_company_cannot_steer_the_terminal(watch: Watch) -> None:
    """Anybody can put anything into a path."""
    (line,) = watch.see([Arrival("\x1b[2Jacme\n", "unknown", AT, QuarantineReason.COMPANY_UNKNOWN)])

    assert line.isprintable()


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_urls_are_printed_as_json(config: Path) -> None:
    """With everything that the table has."""
    ran = run("urls", "acme", "--base-url", BASE + "/", "--config", config, "-o", "json")

    assert ran.code == 0, ran.err
    assert [(row["kind"], row["field"], row["url"], row["need"], row["because"]) for row in orjson.loads(ran.out)] == [
        ("pre_call", "Pre-Call", f"{BASE}/callrail/acme/pre_call", "better with it", ["call.missed"]),
        ("post_call", "Post-Call", f"{BASE}/callrail/acme/post_call", "needed", ["call.missed"]),
        ("call_modified", "Call Modified", f"{BASE}/callrail/acme/call_modified", "recommended", []),
        ("text_received", "Text Message Received", f"{BASE}/callrail/acme/text_received", "needed", ["text.received"]),
        ("form_submission", "Form Submission", f"{BASE}/callrail/acme/form_submission", "needed", ["form.submitted"]),
    ]


def test_a_url_in_the_table_is_never_cut(config: Path) -> None:
    """However long the address is, each URL stands on one line with CallRail's name of its field."""
    base = "https://" + "a-very-long-name." * 12 + "example.com"
    ran = run("urls", "globex", "--base-url", base, "--config", config, environ={"COLUMNS": "60"})

    assert ran.code == 0, ran.err
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    for field, kind in (("Pre-Call", "pre_call"), ("Post-Call", "post_call"), ("Call Modified", "call_modified")):
        assert any(line.startswith(f"{field} {base}/callrail/globex/{kind} ") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        pytest.param(["acem"], 2, "router.yaml has no company 'acem'; did you mean 'acme'?", id="mistyped"),
        pytest.param(["zzz"], 2, "has no company 'zzz'; there are: acme, globex, initech", id="no-company"),
        pytest.param(["acme", "--base-url", "hooks"], 2, "write it like https://hooks.example.com", id="base-url"),
        pytest.param(["acme", "--timeout", "5m"], 2, "write --wait too", id="timeout-alone"),
        pytest.param(["acme", "--wait", "--timeout", "5"], 2, "'5' is no duration", id="no-duration"),
        pytest.param(["acme", "--wait", "--database-url", "sqlite:///none.db"], 1, "there is no file", id="no-file"),
    ],
)
def test_a_mistake_is_one_sentence(config: Path, arguments: list[str], code: int, sentence: str) -> None:
    """With its exit code, and nothing on stdout."""
    ran = run("urls", *arguments, "--config", config)

    assert (ran.code, ran.out) == (code, "")
    assert sentence in " ".join(ran.err.split())
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param([], "this is an example", id="no-address-given"),
        pytest.param(["--base-url", "http://hooks.example.net"], "use https", id="not-encrypted"),
        pytest.param(["--base-url", "http://127.0.0.1:8080"], "", id="this-machine"),
    ],
)
def test_an_address_that_will_not_do_is_warned_of(config: Path, arguments: list[str], sentence: str) -> None:
    """On stderr, so that what is printed can be piped."""
    ran = run("urls", "acme", "--config", config, *arguments)

    assert ran.code == 0
    assert sentence in ran.err
    assert bool(sentence) is bool(ran.err)


@pytest.fixture
def served(config: Path, database_url: str) -> Iterator[Process]:
    """A real intake on each database."""
    options = ["--role", "intake", "--port", "0", "--config", str(config), "--database-url", database_url]
    with running("serve", *options) as process:
        assert process.port
        yield process


def test_waiting_ends_when_one_of_each_kind_has_come(served: Process, config: Path, database_url: str) -> None:
    """What came before does not count; each is ticked off by CallRail's name."""
    assert served.post("post_call", b'{"resource_id":"CAL0","call_type":"missed"}', company="globex") == 204
    arguments = ["urls", "globex", "--wait", "--config", str(config), "--database-url", database_url]
    with running(*arguments) as waiting:
        waiting.wait_until_it_says("Waiting for Pre-Call, Post-Call, Call Modified.")
        for number, kind in enumerate(("call_modified", "pre_call", "post_call")):
            body = b'{"resource_id":"CAL%d","call_type":"missed"}' % number
            assert served.post(kind, body, company="globex") == 204
            waiting.wait_until_it_says(f"  {CALLRAIL_FIELD[Kind(kind)]}\n")
        waiting.wait_until_it_says("All there.")
        assert waiting.popen.wait(timeout=30) == 0


def test_waiting_says_what_is_wrong_with_what_came(served: Process, config: Path, database_url: str) -> None:
    """Another key, a mistyped company; Ctrl-C then ends with what is missing and without a traceback."""
    arguments = ["urls", "globex", "--wait", "--config", str(config), "--database-url", database_url]
    with running(*arguments) as waiting:
        waiting.wait_until_it_says("Waiting for")
        wrong = asyncio.run(post_signed(served.port, "/callrail/globex/pre_call", b"{}", key="another"))
        unknown = asyncio.run(post_signed(served.port, "/callrail/globx/pre_call", b"{}", key=KEY))
        unsigned = asyncio.run(post(served.port, "/callrail/globex/post_call", b"{}"))
        assert (wrong.status, unknown.status, unsigned.status) == (401, 202, 401)
        waiting.wait_until_it_says("Pre-Call came, but is in quarantine: its signature fits no key of globex.")
        waiting.wait_until_it_says("the server knows no company 'globx'")
        waiting.wait_until_it_says("Post-Call came, but is in quarantine: it has no signature.")

        assert waiting.end(signal.SIGINT) == 130
        said = "".join(waiting.lines)
    assert "Ended. Still missing: Pre-Call, Post-Call, Call Modified." in said
    assert "Traceback" not in said
    with opened(database_url) as database:
        assert len(rows_of(database, quarantine)) == 3


def test_waiting_ends_when_the_time_is_over(config: Path, sqlite_url: str) -> None:
    """Exit code 1, and what is missing; the store was only read."""
    ran = run("urls", "acme", "--wait", "--timeout", "0s", "--config", config, "--database-url", sqlite_url)

    assert ran.code == 1
    assert "The time is over. Still missing: Pre-Call, Post-Call, Call Modified, Text Message Received" in ran.err
    assert "https://hooks.example.com/callrail/acme/pre_call" in ran.out
