"""The Slack sink against a Slack of our own on a loopback socket: what it posts, edits, and makes of the answers."""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from pydantic import ValidationError

from receiver.exceptions import SecretMissing
from routers.audience import Audience
from routers.config import check_config
from routers.messages import Amend, First, Message
from routers.outcomes import AuthFailed, Delivered, Gone, Outcome, Rejected, Retry, Uncertain
from routers.rates import Rate
from routers.sinks.slack import SlackBot, SlackConfig, SlackHook
from routers.sinks.slack_blocks import compose
from routers.transitions import Transition
from routers.uncertain import OnUncertain
from tests.contract import slack_case, slack_hook_case
from tests.contract.case import SinkCase
from tests.fakes.destination import Behaviour, answer, break_off_in_the_body, hang, port_nobody_listens_on, reset
from tests.fakes.slack import CHANNEL, HOOK_PATH, TOKEN, Channel, FakeSlack, running_slack, texts_of, told_as_json
from tests.routers.stories import CALL_URL, message_of, story

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[2] / "docs" / "sinks" / "slack.md"
SHARED = Path(os.environ.get("CALLRAIL_ROUTER_SHARED") or Path(__file__).parents[3] / "shared")
SPECS = SHARED / "specs" / "slack"
with_specs = pytest.mark.skipif(not SPECS.exists(), reason=f"Slack's schemas are not at {SPECS}")

MISSED = story(Transition.CALL_MISSED)
RECORDED = story(Transition.CALL_MISSED, Transition.CALL_RECORDING_READY)
GONE_FIRST = First("dl_1", f"{CHANNEL}:1773148502.999999")


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with running_slack() as running:
        yield running


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_TOKEN", TOKEN)


def config_of(**settings: Any) -> SlackConfig:
    return SlackConfig.model_validate({"type": "slack", "allow_hosts": ["127.0.0.1"], "timeout": "2s"} | settings)


def bot_of(slack: FakeSlack, **settings: Any) -> SlackBot:
    """A sink as `router.yaml` makes it with a token."""
    block = {"token": "env:SLACK_TOKEN", "channel": CHANNEL, "base_url": slack.base_url} | settings
    built = config_of(**block).build()
    assert isinstance(built, SlackBot)
    return built


def hook_of(slack: FakeSlack, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> SlackHook:
    """A sink as `router.yaml` makes it with the URL of an incoming webhook."""
    monkeypatch.setenv("SLACK_HOOK", slack.hook_url)
    built = config_of(webhook_url="env:SLACK_HOOK", **settings).build()
    assert isinstance(built, SlackHook)
    return built


async def deliver(sink: SlackBot | SlackHook, *messages: Message) -> list[Outcome]:
    """What came of *messages*, one after the other."""
    try:
        return [await sink.deliver(message) for message in messages]
    finally:
        await sink.aclose()


async def first_posted(sink: SlackBot) -> First:
    """The first message about a missed call, posted."""
    outcome = await sink.deliver(message_of(*MISSED))
    assert isinstance(outcome, Delivered)
    return First("dl_1", outcome.remote_id)


# --- posting with a token --------------------------------------------------------------------------------------------


async def test_a_message_is_posted_with_text_blocks_and_the_delivery_s_key(slack: FakeSlack) -> None:
    """The channel shows what was composed; the id of the message is its channel and ts."""
    (outcome,) = await deliver(bot_of(slack), message_of(*MISSED))

    (posted,) = slack.workspace.messages
    composed = compose(message_of(*MISSED))
    assert outcome == Delivered("posted", remote_id=f"{CHANNEL}:{posted.ts}")
    assert (posted.text, posted.blocks) == (composed.text, composed.blocks)
    assert posted.metadata == {"event_type": "callrail_call", "event_payload": {"delivery": "dl_1"}}


async def test_a_request_is_as_slack_wants_it(slack: FakeSlack) -> None:
    """JSON with its charset, the token in a header and nowhere else, and no previews of links."""
    await deliver(bot_of(slack), message_of(*MISSED))

    (request,) = slack.destination.requests
    assert (request.method, request.target) == ("POST", "/api/chat.postMessage")
    assert request.headers["content-type"] == "application/json; charset=utf-8"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    body = json.loads(request.body)
    assert TOKEN not in request.body.decode()
    assert (body["unfurl_links"], body["unfurl_media"]) == (False, False)


# --- later news ------------------------------------------------------------------------------------------------------


async def test_later_news_edits_the_message(slack: FakeSlack) -> None:
    """One message that grows: the channel has no second one, and the first version is gone from sight."""
    sink = bot_of(slack)
    first = await first_posted(sink)

    (outcome,) = await deliver(sink, message_of(*RECORDED, first=first, amend=Amend.EDIT))

    (posted,) = slack.workspace.messages
    assert outcome == Delivered("edited", remote_id=first.remote_id)
    assert "Missed call" in posted.shown
    assert "Recording ready" in posted.shown
    assert "Recording ready" not in json.dumps(posted.versions)
    assert posted.metadata == {"event_type": "callrail_call", "event_payload": {"delivery": "dl_1"}}


async def test_an_edit_turns_off_what_slack_would_read_into_the_text(slack: FakeSlack) -> None:
    """Unlike when posting, `parse` is not `none` by default."""
    sink = bot_of(slack)
    first = await first_posted(sink)

    await deliver(sink, message_of(*RECORDED, first=first, amend=Amend.EDIT))

    assert slack.asked[-1][1]["parse"] == "none"


async def test_later_news_answers_in_the_thread(slack: FakeSlack) -> None:
    """A reply with the last chapter alone; the first message stays as it was."""
    sink = bot_of(slack)
    first = await first_posted(sink)

    (outcome,) = await deliver(sink, message_of(*RECORDED, first=first, amend=Amend.THREAD))

    posted, reply = slack.workspace.messages
    assert outcome == Delivered("posted", remote_id=f"{CHANNEL}:{reply.ts}")
    assert reply.thread_ts == posted.ts
    assert reply.shown.startswith("*Recording ready")
    assert "Missed call" not in reply.shown
    assert posted.versions == []


async def test_later_news_that_comes_new_is_a_message_of_its_own(slack: FakeSlack) -> None:
    """With the way there, and without what was told before."""
    sink = bot_of(slack)
    first = await first_posted(sink)

    await deliver(sink, message_of(*RECORDED, first=first, amend=Amend.NEW))

    _, news = slack.workspace.messages
    assert news.thread_ts is None
    assert news.shown.startswith("*Recording ready")


@pytest.mark.parametrize("amend", [Amend.EDIT, Amend.THREAD])
async def test_where_the_first_message_was_never_posted_the_whole_story_is(slack: FakeSlack, amend: Amend) -> None:
    """There is nothing to edit or to answer."""
    await deliver(bot_of(slack), message_of(*RECORDED, first=First("dl_1", None), amend=amend))

    (posted,) = slack.workspace.messages
    assert posted.thread_ts is None
    assert "Missed call" in posted.shown
    assert "Recording ready" in posted.shown


@pytest.mark.parametrize("amend", [Amend.EDIT, Amend.THREAD])
async def test_where_the_first_message_is_gone_the_whole_story_is_posted_anew(slack: FakeSlack, amend: Amend) -> None:
    """Somebody deleted it: news that nobody gets would be worse than a second message. The id is the new one's."""
    (outcome,) = await deliver(bot_of(slack), message_of(*RECORDED, first=GONE_FIRST, amend=amend))

    (posted,) = slack.workspace.messages
    word = "message_not_found" if amend is Amend.EDIT else "thread_not_found"
    reason = f"posted anew, for the first message cannot be amended: {word}"
    assert outcome == Delivered(reason, remote_id=f"{CHANNEL}:{posted.ts}")
    assert "Missed call" in posted.shown


async def test_where_the_workspace_forbids_late_edits_the_story_is_posted_anew(slack: FakeSlack) -> None:
    """An administrator may have set for how long messages can be edited."""
    sink = bot_of(slack)
    first = await first_posted(sink)
    slack.workspace.channels[CHANNEL].is_editable = False

    (outcome,) = await deliver(sink, message_of(*RECORDED, first=first, amend=Amend.EDIT))

    assert "edit_window_closed" in outcome.reason
    assert len(slack.workspace.messages) == 2


async def test_a_message_is_edited_in_the_channel_where_it_stands(slack: FakeSlack) -> None:
    """The sink's channel may have been changed meanwhile."""
    slack.workspace.channels["C0999ZZZZ"] = Channel()
    before = bot_of(slack, channel="C0999ZZZZ")
    first = await first_posted(before)
    await before.aclose()

    await deliver(bot_of(slack), message_of(*RECORDED, first=first, amend=Amend.EDIT))

    assert [len(channel.messages) for channel in slack.workspace.channels.values()] == [0, 1]


async def test_where_that_channel_is_archived_the_story_goes_to_the_present_one(slack: FakeSlack) -> None:
    """The sink's own channel is well; nothing has to pause."""
    slack.workspace.channels["C0999ZZZZ"] = Channel(is_archived=True)
    first = First("dl_1", "C0999ZZZZ:1773148502.000001")

    (outcome,) = await deliver(bot_of(slack), message_of(*RECORDED, first=first, amend=Amend.EDIT))

    assert isinstance(outcome, Delivered)
    assert len(slack.workspace.channels[CHANNEL].messages) == 1


async def test_where_neither_can_be_the_outcome_is_that_of_posting(slack: FakeSlack) -> None:
    """The channel is archived, for the edit and for the post."""
    slack.workspace.channels[CHANNEL].is_archived = True

    outcomes = await deliver(bot_of(slack), message_of(*RECORDED, first=GONE_FIRST, amend=Amend.EDIT))

    assert outcomes == [Gone("is_archived: the channel is archived")]
    assert [method for method, _ in slack.asked] == ["chat.update", "chat.postMessage"]


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(hang, id="hangs"),
        pytest.param(reset, id="resets"),
        pytest.param(break_off_in_the_body, id="breaks-off"),
        pytest.param(told_as_json({"ok": False, "error": "internal_error"}), id="internal-error"),
        pytest.param(answer(200, body=b"<html>"), id="no-json"),
    ],
)
async def test_a_lost_answer_to_an_edit_is_a_retry(slack: FakeSlack, behaviour: Behaviour) -> None:
    """Editing twice is editing once: nothing to wonder about, and no second message."""
    sink = bot_of(slack, timeout="500ms")
    first = await first_posted(sink)
    slack.answers(behaviour)

    (outcome,) = await deliver(sink, message_of(*RECORDED, first=first, amend=Amend.EDIT))

    assert isinstance(outcome, Retry)
    assert len(slack.workspace.messages) == 1


async def test_only_what_is_posted_again_says_that_it_may_repeat(slack: FakeSlack) -> None:
    """An edit that is tried again repeats nothing."""
    sink = bot_of(slack)
    first = await first_posted(sink)

    await deliver(
        sink,
        message_of(*RECORDED, first=first, amend=Amend.EDIT, may_repeat=True),
        message_of(*MISSED, may_repeat=True),
    )

    edited, posted = slack.workspace.messages
    assert "May repeat" not in edited.shown
    assert "May repeat" in posted.shown


# --- what comes back -------------------------------------------------------------------------------------------------

WORDS: list[tuple[str, type[Outcome]]] = [
    *((word, Rejected) for word in ("invalid_blocks", "msg_too_long", "msg_blocks_too_long", "no_text")),
    *((word, Rejected) for word in ("restricted_action", "too_many_attachments", "a_word_of_tomorrow")),
    *((word, Gone) for word in ("channel_not_found", "is_archived")),
    *((word, AuthFailed) for word in ("not_in_channel", "missing_scope", "not_authed", "invalid_auth")),
    *((word, AuthFailed) for word in ("account_inactive", "token_revoked", "token_expired")),
    *((word, Retry) for word in ("ratelimited", "rate_limited", "service_unavailable", "request_timeout")),
    *((word, Uncertain) for word in ("internal_error", "fatal_error")),
]
HOOK_WORDS: list[tuple[int, str, type[Outcome]]] = [
    *((400, word, Rejected) for word in ("invalid_payload", "user_not_found", "too_many_attachments", "no_text")),
    *((403, word, AuthFailed) for word in ("action_prohibited", "posting_to_general_channel_denied", "invalid_token")),
    *((404, word, Gone) for word in ("channel_not_found", "no_service", "no_service_id", "no_active_hooks", "no_team")),
    *((410, word, Gone) for word in ("channel_is_archived", "team_disabled")),
    (500, "rollup_error", Retry),
    (429, "rate_limited", Retry),
    # The word counts, whatever the status.
    (200, "no_active_hooks", Gone),
    (500, "invalid_payload", Rejected),
    (403, "no_team", Gone),
    (404, "invalid_token", AuthFailed),
    # Without a word that is known it is the status.
    (503, "", Retry),
    (400, "a_word_of_tomorrow", Rejected),
    (403, "<html>forbidden</html>", AuthFailed),
    (404, "Not Found", Gone),
    (302, "", Rejected),
    (200, "", Uncertain),
    (200, "okay", Uncertain),
]


@pytest.mark.parametrize(("word", "expected"), WORDS)
async def test_a_word_of_the_web_api_is_one_outcome(slack: FakeSlack, word: str, expected: type[Outcome]) -> None:
    """The status is 200 throughout, and says nothing."""
    slack.answers(told_as_json({"ok": False, "error": word}))

    (outcome,) = await deliver(bot_of(slack), message_of(*MISSED))

    assert isinstance(outcome, expected)
    assert len(slack.asked) == 1


@pytest.mark.parametrize(("status", "word", "expected"), HOOK_WORDS)
async def test_a_word_of_a_hook_is_one_outcome(
    slack: FakeSlack, monkeypatch: pytest.MonkeyPatch, status: int, word: str, expected: type[Outcome]
) -> None:
    """The word first, the status second; what is no word is not repeated."""
    slack.answers(answer(status, body=word.encode()))

    (outcome,) = await deliver(hook_of(slack, monkeypatch), message_of(*MISSED))

    assert isinstance(outcome, expected)
    assert "<" not in outcome.reason
    assert HOOK_PATH not in outcome.reason


@pytest.mark.parametrize(
    ("status", "expected"),
    [(500, Retry), (503, Retry), (404, Gone), (401, AuthFailed), (302, Rejected), (204, Uncertain)],
)
async def test_an_answer_that_is_none_of_the_web_api_s_is_its_status(
    slack: FakeSlack, status: int, expected: type[Outcome]
) -> None:
    """Something between us and Slack has answered."""
    slack.answers(answer(status, body=b"" if status == 204 else b"<html>AVERY QUILL</html>"))

    (outcome,) = await deliver(bot_of(slack), message_of(*MISSED))

    assert isinstance(outcome, expected)
    assert "AVERY" not in outcome.reason


@pytest.mark.parametrize(
    "told", ["ok", ["ok"], {"ok": "true"}, {"ok": False, "error": {"x": 1}}, {"ok": False, "error": "Bad <words>"}, {}]
)
async def test_an_answer_that_cannot_be_read_is_uncertain(slack: FakeSlack, told: Any) -> None:
    """The message may stand there."""
    slack.answers(told_as_json(told))

    (outcome,) = await deliver(bot_of(slack), message_of(*MISSED))

    assert isinstance(outcome, Uncertain)


async def test_a_200_may_be_a_refusal_that_says_what_to_do(slack: FakeSlack) -> None:
    """The operator is told the remedy with the word."""
    slack.workspace.channels[CHANNEL].is_member = False

    (outcome,) = await deliver(bot_of(slack), message_of(*MISSED))

    assert outcome == AuthFailed("not_in_channel: invite the bot to the channel")


async def test_a_scope_that_is_missing_is_named(slack: FakeSlack) -> None:
    """Slack says which one the call needs."""
    slack.workspace.scopes.remove("chat:write")

    outcomes = await deliver(bot_of(slack), message_of(*MISSED))

    assert outcomes == [AuthFailed("missing_scope: add chat:write to the app and install it again")]


@pytest.mark.parametrize("body", [b'{"ok": false, "error": "ratelimited"}', b"", b"rate_limited"])
async def test_a_429_pauses_the_lane_for_as_long_as_slack_asks(
    slack: FakeSlack, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    """In both ways of posting; the sink itself does not wait."""
    too_many = answer(429, headers={"Retry-After": "30"}, body=body)
    slack.answers(too_many, too_many)

    outcomes = await deliver(bot_of(slack), message_of(*MISSED))
    outcomes += await deliver(hook_of(slack, monkeypatch), message_of(*MISSED))

    assert outcomes == [Retry("rate limited", after=timedelta(seconds=30), whole_lane=True)] * 2


@pytest.mark.parametrize("behaviour", [hang, reset, break_off_in_the_body], ids=["hangs", "resets", "breaks-off"])
async def test_a_lost_answer_to_a_post_is_uncertain(
    slack: FakeSlack, monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour
) -> None:
    """The sink posts once and does not try again by itself."""
    slack.answers(behaviour, behaviour)

    outcomes = await deliver(bot_of(slack, timeout="500ms"), message_of(*MISSED))
    outcomes += await deliver(hook_of(slack, monkeypatch, timeout="500ms"), message_of(*MISSED))

    assert [type(outcome) for outcome in outcomes] == [Uncertain, Uncertain]
    assert len(slack.destination.requests) == 2


@pytest.mark.parametrize("case", [slack_case.CASE, slack_hook_case.CASE], ids=lambda case: case.name)
async def test_nobody_listening_is_a_retry(case: SinkCase) -> None:
    """Nothing left, so nothing can be repeated."""
    with port_nobody_listens_on() as port:
        sink = case.build(f"http://127.0.0.1:{port}", 2.0)
        outcome = await sink.deliver(message_of(*MISSED))
        await sink.aclose()

    assert isinstance(outcome, Retry)


@pytest.mark.parametrize("case", [slack_case.CASE, slack_hook_case.CASE], ids=lambda case: case.name)
async def test_what_the_contract_calls_accepted_is_delivered(slack: FakeSlack, case: SinkCase) -> None:
    """The case tells the truth of the sink."""
    slack.answers(case.accepts)
    sink = case.build(slack.destination.url, 2.0)

    assert isinstance(await sink.deliver(message_of(*MISSED)), Delivered)
    await sink.aclose()


# --- by an incoming webhook ------------------------------------------------------------------------------------------


async def test_a_hook_posts_the_same_and_gets_no_id(slack: FakeSlack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither channel, nor metadata, nor a token: the URL is all there is."""
    outcomes = await deliver(hook_of(slack, monkeypatch), message_of(*MISSED))

    (posted,) = slack.workspace.messages
    assert outcomes == [Delivered("posted")]
    assert posted.blocks == compose(message_of(*MISSED)).blocks
    assert slack.asked[0][1].keys() == {"text", "blocks", "unfurl_links", "unfurl_media"}
    assert "authorization" not in slack.destination.requests[0].headers


async def test_later_news_by_a_hook_is_a_message_with_the_news_alone(
    slack: FakeSlack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one cannot be touched any more, so it is not repeated."""
    news = message_of(*RECORDED, first=First("dl_1", None), amend=Amend.NEW)

    await deliver(hook_of(slack, monkeypatch), message_of(*MISSED), news)

    _, second = slack.workspace.messages
    assert second.shown.startswith("*Recording ready")
    assert "Missed call" not in second.shown


# --- by Slack's own contracts ----------------------------------------------------------------------------------------


@cache
def validator(file: str, definition: str) -> Draft7Validator:
    definitions = json.loads((SPECS / file).read_text())["definitions"]
    return Draft7Validator({"definitions": definitions, "$ref": f"#/definitions/{definition}"})


async def one_of_each(slack: FakeSlack) -> None:
    """A post, an edit, a reply, a test of the token, and two refusals."""
    sink = bot_of(slack)
    first = await first_posted(sink)
    await sink.check()
    await deliver(
        sink,
        message_of(*RECORDED, first=first, amend=Amend.EDIT),
        message_of(*RECORDED, first=first, amend=Amend.THREAD),
    )
    slack.workspace.channels[CHANNEL].is_archived = True
    await deliver(bot_of(slack), message_of(*MISSED))


@with_specs
async def test_requests_are_right_by_slack_s_types(slack: FakeSlack) -> None:
    """The bytes as they were sent, against the arguments of Slack's own client."""
    await one_of_each(slack)

    arguments = {"chat.postMessage": "ChatPostMessageArguments", "chat.update": "ChatUpdateArguments"}
    checked = [(method, body) for method, body in slack.asked if method in arguments]
    assert {method for method, _ in checked} == arguments.keys()
    for method, body in checked:
        assert [
            each.message for each in validator("chat.request.schema.json", arguments[method]).iter_errors(body)
        ] == []


@with_specs
async def test_the_fake_answers_as_slack_has_published(slack: FakeSlack) -> None:
    """Else all of the above would prove little."""
    await one_of_each(slack)

    published = ("chat.postMessage", "chat.update", "auth.test")
    answered = [(method, told) for method, told in slack.answered if method in published]
    assert {(method, told["ok"]) for method, told in answered} >= {(method, True) for method in published}
    assert ("chat.postMessage", False) in {(method, told["ok"]) for method, told in answered}
    for method, told in answered:
        definition = f"{method}.{'success' if told['ok'] else 'error'}"
        errors = validator("web-api.responses.schema.json", definition).iter_errors(told)
        assert [error.message for error in errors] == []


# --- checking without posting ----------------------------------------------------------------------------------------


NOT_LOOKED_UP = (
    "whether the bot is in the channel was not looked up: that needs channels:read or, if private, groups:read"
)


async def checked(sink: SlackBot | SlackHook) -> dict[str, bool]:
    try:
        found = await sink.check()
    finally:
        await sink.aclose()
    assert all(each.ok or each.remedy for each in found)
    return {each.what: each.ok for each in found}


async def test_a_check_proves_token_scope_and_channel_and_posts_nothing(slack: FakeSlack) -> None:
    """Three things that go wrong at the set-up."""
    assert await checked(bot_of(slack)) == {
        "Slack knows the token: callrail of Acme": True,
        "the token has the scope chat:write": True,
        "the bot is in the channel": True,
    }
    assert slack.workspace.messages == []


async def test_a_wrong_token_is_all_there_is_to_say(slack: FakeSlack) -> None:
    """Nothing else can be looked at."""
    slack.workspace.token = "xoxb-another"

    assert await checked(bot_of(slack)) == {"Slack knows the token": False}


@pytest.mark.parametrize(
    ("scopes", "channel", "expected"),
    [
        pytest.param({"channels:read"}, Channel(), ("the token has the scope chat:write", False), id="no-chat-write"),
        pytest.param(
            {"chat:write", "channels:read"},
            Channel(is_member=False),
            ("the bot is in the channel", False),
            id="outside",
        ),
        pytest.param(
            {"chat:write", "chat:write.public", "channels:read"},
            Channel(is_member=False),
            ("the bot may post to the channel without being in it", True),
            id="outside-but-public",
        ),
        pytest.param(
            {"chat:write", "chat:write.public", "channels:read"},
            Channel(is_member=False, is_private=True),
            ("the bot sees the channel", False),
            id="outside-of-a-private-one",
        ),
        pytest.param(
            {"chat:write", "channels:read"}, Channel(is_archived=True), ("the channel is open", False), id="archived"
        ),
        pytest.param(
            {"chat:write"},
            Channel(is_member=False),
            (NOT_LOOKED_UP, True),
            id="not-looked-up",
        ),
    ],
)
async def test_what_is_missing_is_named(
    slack: FakeSlack, scopes: set[str], channel: Channel, expected: tuple[str, bool]
) -> None:
    """Each with a remedy."""
    slack.workspace.scopes = scopes
    slack.workspace.channels[CHANNEL] = channel

    assert expected in (await checked(bot_of(slack))).items()


async def test_a_slack_that_cannot_be_reached_is_said(slack: FakeSlack) -> None:
    """And no exception."""
    assert await checked(bot_of(slack, allow_hosts=[])) == {"Slack knows the token": False}


async def test_of_a_hook_only_the_url_is_checked(slack: FakeSlack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is posted there, people see. The URL itself is not told."""
    what = "webhook_url is a URL of Slack's (whether it still works shows only when something is posted)"
    assert await checked(hook_of(slack, monkeypatch)) == {what: False}
    assert slack.destination.connections == 0

    monkeypatch.setenv("REAL", "https://hooks.slack.com/services/T0/B0/x")
    sink = config_of(webhook_url="env:REAL").build()
    assert isinstance(sink, SlackHook)
    assert await checked(sink) == {what: True}


# --- settings --------------------------------------------------------------------------------------------------------

BY_TOKEN = {"token": "env:SLACK_TOKEN", "channel": CHANNEL}
BY_HOOK = {"webhook_url": "env:SLACK_HOOK"}


def test_the_defaults_are_those_of_people_in_a_channel() -> None:
    """With a token a message is edited; by a hook news is a message of its own."""
    bot, hook = config_of(**BY_TOKEN), config_of(**BY_HOOK)

    assert (bot.audience, bot.on_uncertain, bot.rate) == (
        Audience.PEOPLE,
        OnUncertain.REPEAT,
        Rate(1, timedelta(seconds=1)),
    )
    assert (bot.amend, bot.ways_to_amend) == (Amend.EDIT, frozenset(Amend))
    assert hook.amend is Amend.NEW
    assert hook.ways_to_amend == {Amend.NEW, Amend.SILENT}
    assert hook.amending.most == 1
    assert config_of(**BY_HOOK, amend="silent").amend is Amend.SILENT


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param({}, "needs token and channel, or webhook_url", id="nothing"),
        pytest.param({"token": "env:SLACK_TOKEN"}, "needs token and channel", id="no-channel"),
        pytest.param({"channel": CHANNEL}, "needs token and channel", id="no-token"),
        pytest.param({**BY_TOKEN, **BY_HOOK}, "either webhook_url, or token and channel", id="both"),
        pytest.param({**BY_HOOK, "channel": CHANNEL}, "a webhook has its channel already", id="hook-and-channel"),
        pytest.param({**BY_HOOK, "amend": "edit"}, "amend is one of: new, silent", id="hook-that-edits"),
        pytest.param({**BY_HOOK, "amend": "thread"}, "amend is one of: new, silent", id="hook-that-answers"),
        pytest.param({**BY_TOKEN, "channel": "#sales"}, "told by its id", id="channel-by-name"),
        pytest.param({**BY_TOKEN, "channel": "sales"}, "told by its id", id="channel-by-bare-name"),
        pytest.param({**BY_TOKEN, "base_url": "slack.com"}, "begins with https://", id="no-url"),
        pytest.param({**BY_TOKEN, "token": "xoxb-1-2-literal"}, "must be a reference", id="literal-token"),
        pytest.param(
            {"webhook_url": "https://hooks.slack.com/services/T0/B0/literal"}, "must be a reference", id="literal-url"
        ),
    ],
)
def test_a_mistake_in_the_settings_has_a_remedy(settings: dict[str, str], said: str, tmp_path: Path) -> None:
    """As `rules check` tells it: one sentence, at the sink, without the secret."""
    path = tmp_path / "router.yaml"
    companies = {"acme": {"signing_keys": ["env:ACME_KEY"]}}
    path.write_text(yaml.safe_dump({"companies": companies, "sinks": {"sales": {"type": "slack", **settings}}}))

    (problem,) = check_config(path).problems

    assert said in str(problem)
    assert "sinks.sales" in str(problem)
    assert "literal" not in str(problem)


def test_a_setting_nobody_knows_is_refused() -> None:
    """A misspelt one would do nothing."""
    with pytest.raises(ValidationError):
        config_of(**BY_TOKEN, chanel="C1")


def test_what_is_not_there_or_no_url_is_said_without_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the sink is built, which `rules check` tries."""
    monkeypatch.setenv("SLACK_HOOK", "hooks.slack.com/services/T0/B0/secret")
    with pytest.raises(ValueError, match="begins with https://hooks") as caught:
        config_of(**BY_HOOK).build()
    assert "secret" not in str(caught.value)

    with pytest.raises(SecretMissing, match="the environment variable ABSENT is not set"):
        config_of(token="env:ABSENT", channel=CHANNEL).build()


# --- the page --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
def test_an_example_of_the_page_is_right(block: str, tmp_path: Path) -> None:
    """Each YAML block of docs/sinks/slack.md passes `rules check` beside a company."""
    path = tmp_path / "router.yaml"
    path.write_text("companies: {acme-plumbing: {signing_keys: [env:ACME_KEY]}}\n" + block)

    assert [str(problem) for problem in check_config(path).problems] == []


def as_seen(message: Message) -> str:
    """What a reader sees of *message*: links by their words, times on a clock in UTC."""
    text = "\n".join(text for block in compose(message).blocks for text in texts_of(block))
    return re.sub(r"<[^<>|]+\|([^<>]+?)(?: UTC)?>", r"\1", text) + "\n"


def test_the_page_shows_what_is_posted() -> None:
    """A missed call, corrected, marked as spam: the page's pictures, word for word."""
    missed = message_of(*MISSED, links={"call": CALL_URL})
    corrected = message_of(*story(Transition.CALL_MISSED, Transition.CALL_RECORDING_READY, Transition.CALL_CORRECTED))
    spam = message_of(*story(Transition.CALL_MISSED, Transition.CALL_SPAM), is_spam=True)

    pictures = re.findall(r"```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)

    assert pictures == [as_seen(missed), as_seen(corrected), as_seen(spam)]
