"""What Slack is given to show: right by Slack's schema and models, within its limits, harmless whatever is told."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from slack_sdk.models.blocks import Block as SdkBlock

from routers.escapes import Escape
from routers.messages import Chapter, Message, Text
from routers.sinks.slack_blocks import ADDITIONS, MAX_ADDED, Composed, compose
from routers.transitions import Transition
from tests.fakes.slack import texts_of
from tests.routers.stories import CALL_URL, LINKS, RANG_AT, RECORDING_URL, message_of, story, words_of

SHARED = Path(os.environ.get("CALLRAIL_ROUTER_SHARED") or Path(__file__).parents[3] / "shared")
SCHEMA = SHARED / "specs" / "slack" / "chat.request.schema.json"
DEFINITIONS = {"section": "SectionBlock", "context": "ContextBlock"}

# The only markup that we write: links, and times in the reader's zone.
OUR_MARKUP = re.compile(
    r"<https?://[^\s<>|]+(?:\|[^<>|]+)?>|<!date\^-?\d+\^\{time\}\|\d\d:\d\d UTC>"
    r"|<!date\^-?\d+\^\{date_short_pretty\} \{time\}\|[\w :]+ UTC>"
)
HARMFUL = [
    *("<!channel>", "<!here|here>", "<@U0123ABCD>", "<#C0123ABCD>", "<https://evil.example.com|CallRail>", "@channel"),
    *("*bold*", "~struck~", "`code`", "```", "_it_", ":bomb:", "> quoted", "&amp;", "&lt;!channel&gt;", "&", "<", ">"),
    *("a\r\n*b*", "\u2028", "\u202eevil", "\u05d0\u05d1\u05d2", "\x00", "\ud800", "=cmd()", "🚨" * 3, "x" * 10_000),
    *("&" * 10_000, "https://example.com/?a=1&b=2", "https://example.com/" + "x" * 4_000, " ", "*"),
]


def shown(composed: Composed) -> list[str]:
    return [text for block in composed.blocks for text in texts_of(block)]


def whole(composed: Composed) -> str:
    return "\n".join(shown(composed))


@cache
def validators() -> dict[str, Draft7Validator]:
    definitions = json.loads(SCHEMA.read_text())["definitions"]
    return {
        block: Draft7Validator({"definitions": definitions, "$ref": f"#/definitions/{name}"})
        for block, name in DEFINITIONS.items()
    }


def schema_errors(composed: Composed) -> Iterator[str]:
    """What Slack's own types say against the blocks as they are sent."""
    for block in json.loads(json.dumps(composed.blocks)):
        for error in validators()[block["type"]].iter_errors(block):
            yield f"{block['type']}: {error.message}"


def check(composed: Composed) -> None:
    """What holds for each message: Slack takes it, and nothing but our own markup is markup in it."""
    assert 0 < len(composed.text) <= 300
    assert 0 < len(composed.blocks) <= 50
    assert sum(map(len, shown(composed))) <= 12_500
    for block in composed.blocks:
        parsed = SdkBlock.parse(block)
        assert parsed is not None
        parsed.validate_json()
        assert parsed.to_dict() == block
    for text in (composed.text, *shown(composed)):
        assert 0 < len(text) <= 3_000
        left = OUR_MARKUP.sub("", text)
        assert "<" not in left
        assert not re.search(r"&(?!amp;|lt;|gt;)", left)
    if SCHEMA.exists():
        assert list(schema_errors(composed)) == []


# --- over the life of a call -----------------------------------------------------------------------------------------


def test_a_missed_call_is_its_text_and_a_link() -> None:
    """One section of words, one of links; no history where there is none."""
    composed = compose(message_of(*story(Transition.CALL_MISSED), links={"call": CALL_URL}))

    assert shown(composed) == [
        "\n".join(
            (
                "*Missed call · Acme Plumbing*",
                "AVERY QUILL · (404) 555-0101 · first call",
                "via Google Ads · 1 min 15 s · 10 Mar 13:15",
            )
        ),
        f"<{CALL_URL.replace('&', '&amp;')}|Open in CallRail>",
    ]
    assert composed.text == "Missed call · Acme Plumbing · AVERY QUILL · (404) 555-0101 · first call"
    check(composed)


def test_the_newest_outcome_is_on_top_and_the_way_there_below() -> None:
    """Ringing, then missed, then a voicemail: one message, titled by the last, its times for any reader's zone."""
    chapters = story(Transition.CALL_RINGING, Transition.CALL_MISSED, Transition.CALL_VOICEMAIL)

    composed = compose(message_of(*chapters))

    assert shown(composed)[0].startswith("*New voicemail · Acme Plumbing*\n")
    assert "Missed call" not in whole(composed)
    assert shown(composed)[-1] == (
        "ringing <!date^1773148502^{time}|13:15 UTC> → missed <!date^1773148562^{time}|13:16 UTC> → "
        "voicemail <!date^1773148622^{time}|13:17 UTC>"
    )
    check(composed)


def test_what_becomes_known_later_is_added_below_without_saying_things_twice() -> None:
    """The title stays that of the outcome; who called stands in the message once."""
    composed = compose(message_of(*story(Transition.CALL_MISSED, Transition.CALL_RECORDING_READY)))

    assert shown(composed)[0].startswith("*Missed call")
    assert shown(composed)[1] == "*Recording ready · Acme Plumbing*\n1 min 2 s · 10 Mar 13:15"
    assert whole(composed).count("AVERY QUILL") == 1
    check(composed)


def test_a_corrected_call_shows_what_it_was_thought_to_be() -> None:
    """Struck through, because somebody may have acted on it."""
    composed = compose(message_of(*story(Transition.CALL_MISSED, Transition.CALL_CORRECTED)))

    assert shown(composed)[0].startswith("*Call corrected · Acme Plumbing*")
    assert shown(composed)[1] == "Before: ~Missed call · Acme Plumbing~"
    check(composed)


def test_an_outage_that_is_over_says_so_on_top() -> None:
    """The message that told of the sink becomes one that tells that it works."""
    composed = compose(message_of(*story(Transition.ROUTER_SINK_DOWN, Transition.ROUTER_RECOVERED)))

    assert shown(composed)[0].startswith("*crm works again, after 12 min*")
    assert shown(composed)[-1].startswith("sink down <!date^")
    assert composed.text.startswith("crm works again, after 12 min")
    check(composed)


def test_a_correction_alone_says_what_it_was_as_well() -> None:
    """Where it is a message of its own, the story still tells."""
    composed = compose(message_of(*story(Transition.CALL_MISSED, Transition.CALL_CORRECTED)), whole=False)

    assert shown(composed)[1] == "Before: ~Missed call · Acme Plumbing~"


def test_spam_is_struck_through_and_says_so() -> None:
    """On the screen, and in the notification."""
    chapters = story(Transition.CALL_MISSED, Transition.CALL_SPAM)

    composed = compose(message_of(*chapters, is_spam=True))

    assert shown(composed)[0].startswith("~*Missed call · Acme Plumbing*~ *· spam*\n")
    assert composed.text.startswith("Spam: Missed call")
    check(composed)


def test_news_of_spam_alone_is_not_struck_through() -> None:
    """Its own title is true."""
    chapters = story(Transition.CALL_MISSED, Transition.CALL_SPAM)

    composed = compose(message_of(*chapters, is_spam=True), whole=False)

    assert shown(composed)[0].startswith("*Call marked as spam · Acme Plumbing*")


def test_later_news_alone_tells_the_way_there() -> None:
    """In a thread, or where nothing can be edited, only the last chapter is told in full."""
    composed = compose(message_of(*story(Transition.CALL_MISSED, Transition.CALL_RECORDING_READY)), whole=False)

    assert shown(composed)[0].startswith("*Recording ready")
    assert "Missed call" not in whole(composed)
    assert shown(composed)[-1].startswith("missed <!date^")


def test_a_message_that_may_repeat_says_so() -> None:
    """A reader who sees it twice knows why."""
    composed = compose(message_of(*story(Transition.CALL_MISSED), may_repeat=True))

    assert shown(composed)[-1] == "May repeat: an earlier try got no answer."
    check(composed)


def test_a_replayed_message_says_so_and_when_it_happened() -> None:
    """In the reader's own zone, and in UTC where Slack cannot say it so."""
    composed = compose(message_of(*story(Transition.CALL_MISSED), is_replayed=True))

    written = f"<!date^{int(RANG_AT.timestamp())}^{{date_short_pretty}} {{time}}|Tue 10 Mar 13:15 UTC>"
    assert shown(composed)[-1] == f"Replayed · happened {written}"
    check(composed)


@pytest.mark.parametrize("transition", list(Transition))
def test_each_transition_can_be_told(transition: Transition) -> None:
    """By the built-in text, alone and after a missed call."""
    check(compose(message_of(*story(transition))))
    check(compose(message_of(*story(Transition.CALL_MISSED, transition), is_spam=True)))


# --- links -----------------------------------------------------------------------------------------------------------


def test_a_link_with_an_access_key_is_not_shown() -> None:
    """Whoever holds it may listen, and a channel has many readers."""
    links = {"call": CALL_URL, "recording": f"{RECORDING_URL}/redirect?access_key=0123456789"}

    composed = compose(message_of(*story(Transition.CALL_VOICEMAIL), links=links))

    assert "access_key" not in json.dumps(composed.blocks)
    assert "Open in CallRail" in whole(composed)


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "https://example.com/>|<!channel>",
        "https://example.com/|text",
        "https://" + "x" * 5_000,
        "",
    ],
)
def test_a_link_cannot_become_other_markup(url: str) -> None:
    """It is shown as one link or not at all."""
    composed = compose(message_of(*story(Transition.CALL_MISSED), links={"call": url, "a_b": url}))

    check(composed)
    assert "javascript" not in whole(composed)


def test_a_line_that_is_a_link_can_be_clicked() -> None:
    """Slack makes links of nothing by itself here, so that it makes no mentions either."""
    chapter = Chapter(Transition.FORM_SUBMITTED, RANG_AT, words_of(Transition.FORM_SUBMITTED))

    assert re.search(
        r"^<https://app\.callrail\.com/\S+form_capture>$", whole(compose(message_of(chapter))), re.MULTILINE
    )


def test_nothing_is_made_of_what_only_looks_like_a_mention() -> None:
    """`verbatim` keeps Slack from reading `@channel` and `#general` in plain text."""
    composed = compose(message_of(*story(Transition.CALL_MISSED, who="@channel #general"), may_repeat=True))

    objects = [block["text"] if block["type"] == "section" else block["elements"][0] for block in composed.blocks]
    assert {(each["type"], each["verbatim"]) for each in objects} == {("mrkdwn", True)}


# --- limits ----------------------------------------------------------------------------------------------------------


def a_chapter(transition: Transition, title: str, *lines: str) -> Chapter:
    """A chapter of texts that somebody else wrote, escaped as a template escapes them."""

    def write(escape: Escape) -> Text:
        return Text(escape(title), tuple(escape(line) for line in lines))

    return Chapter(transition, RANG_AT, write)


def test_what_is_cut_ends_in_an_ellipsis() -> None:
    """Visibly, at the limit of a section, and never inside an entity."""
    composed = compose(message_of(a_chapter(Transition.CALL_MISSED, "Missed", "&" * 10_000), links={}))

    (text,) = shown(composed)
    assert len(text) > 2_900
    assert text.endswith("&amp;…")


def test_a_link_that_does_not_fit_is_left_out_whole() -> None:
    """Half a link would lead elsewhere."""
    chapter = a_chapter(Transition.CALL_MISSED, "Missed", "x" * 2_900, "https://example.com/" + "y" * 300)

    (text,) = shown(compose(message_of(chapter, links={})))

    assert text.endswith("x\n…")


def test_markup_of_a_template_is_not_cut_in_half() -> None:
    """Its author may write a link; where it does not fit all of it goes."""
    chapter = Chapter(
        Transition.CALL_MISSED, RANG_AT, lambda _: Text("t", ("x" * 2_980 + "<https://example.com|docs>",))
    )

    (text,) = shown(compose(message_of(chapter, links={})))

    assert text.endswith("x…")


def test_of_too_much_later_news_the_newest_is_shown() -> None:
    """The message says that something is left out."""
    changes = [a_chapter(Transition.CALL_CHANGED, f"change {number}", f"{number}:" + "x" * 900) for number in range(30)]

    composed = compose(message_of(*story(Transition.CALL_MISSED), *changes))

    assert "*change 29*" in whole(composed)
    assert "*change 0*" not in whole(composed)
    assert shown(composed)[1] == "… earlier news is left out here"
    assert shown(composed)[-1].startswith("… → changed")
    check(composed)


def test_all_later_news_together_has_a_limit() -> None:
    """Two long pieces: the newest whole, the one before in what room is left."""
    changes = [a_chapter(Transition.CALL_CHANGED, f"change {number}", f"{number}" * 9_000) for number in range(2)]

    _, older, newest, _ = shown(compose(message_of(*story(Transition.CALL_MISSED), *changes, links={})))

    assert older.startswith("*change 0*")
    assert len(newest) > 2_900
    assert 4_900 < len(older) + len(newest) <= MAX_ADDED


TEXTS = st.one_of(st.sampled_from(HARMFUL), st.text(st.characters(), max_size=400))
CHAPTERS = st.builds(
    a_chapter, st.sampled_from(list(Transition)), TEXTS, *(st.one_of(TEXTS, st.just("same line")) for _ in range(3))
)


@given(
    chapters=st.lists(CHAPTERS, min_size=1, max_size=25),
    is_whole=st.booleans(),
    is_spam=st.booleans(),
    may_repeat=st.booleans(),
    links=st.dictionaries(st.sampled_from(["call", "recording", "<x>"]), TEXTS),
)
@example([a_chapter(change, "&" * 999, "<" * 9_999) for change in ADDITIONS] * 4, True, True, True, LINKS)
def test_whatever_is_told_slack_takes_it_and_pings_nobody(
    chapters: list[Chapter], is_whole: bool, is_spam: bool, may_repeat: bool, links: dict[str, str]
) -> None:
    """Any texts, in any order of chapters: right for Slack's schema and models, within limits, no markup but ours."""
    message = message_of(*chapters, is_spam=is_spam, may_repeat=may_repeat, links=links)

    check(compose(message, whole=is_whole))


@given(name=TEXTS, words=TEXTS, transition=st.sampled_from(list(Transition)))
def test_whatever_a_caller_is_called_the_built_in_texts_are_harmless(
    name: str, words: str, transition: Transition
) -> None:
    """Through the templates, as it is in life."""
    facts: dict[str, Any] = {
        "who": name,
        "company_name": name,
        "content": words,
        "call_summary": words,
        "tags": [words],
    }

    check(compose(message_of(*story(Transition.CALL_MISSED, transition, **facts))))


@pytest.mark.skipif(not SCHEMA.exists(), reason=f"the schema of Slack's requests is not at {SCHEMA}")
def test_the_schema_refuses_what_slack_would() -> None:
    """The check above can fail."""
    too_long = {"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3_001, "verbatim": True}}

    assert list(schema_errors(Composed("t", [too_long]))) != []


def test_a_title_cannot_end_its_bold_print() -> None:
    """An asterisk in a name is shown as the operator that looks like it."""
    assert shown(compose(a_message_titled("a *b* ~c~")))[0] == "*a \u2217b\u2217 \u223cc\u223c*"


def a_message_titled(title: str) -> Message:
    return message_of(a_chapter(Transition.CALL_MISSED, title), links={})
