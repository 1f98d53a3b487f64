"""What there is to fetch of a call or a text, and that no link of theirs is repeated."""

from __future__ import annotations

from typing import Any

import pytest

from routers.lifecycle import Stage
from routers.media.wanted import MOST_OF_A_TEXT, MediaKind, Wanted, wanted_of

LINK = "https://app.callrail.com/calls/CAL1/recording/redirect?access_key=5ecret"


def test_a_call_that_is_over_has_its_recording() -> None:
    assert list(wanted_of("call", "CAL1", Stage.ENDED, {"recording": LINK})) == [
        Wanted(MediaKind.RECORDING, "calls/CAL1/recording.json")
    ]


@pytest.mark.parametrize(
    ("type_", "stage", "fields"),
    [
        ("call", Stage.ROUTED, {"recording": LINK}),
        ("call", Stage.ENDED, {"recording": None}),
        ("call", Stage.ENDED, {}),
        ("form", Stage.COMPLETE, {"recording": LINK, "media_urls": [LINK]}),
        ("text", Stage.COMPLETE, {"media_urls": []}),
        ("text", Stage.COMPLETE, {"media_urls": "https://app.callrail.com/"}),
    ],
)
def test_nothing_else_has_any(type_: str, stage: Stage, fields: dict[str, Any]) -> None:
    assert list(wanted_of(type_, "X1", stage, fields)) == []


@pytest.mark.parametrize(
    "link",
    [
        "https://app.callrail.com/msg/a/987/messages/SCI1/media/0",
        "https://api.callrail.com/v3/a/987/text-messages/SCI1/media/0?access_key=5ecret",
    ],
)
def test_media_of_a_text_are_asked_for_at_the_api(link: str) -> None:
    """Where webhooks say they lie, the API key is refused (observed)."""
    found = list(wanted_of("text", "SCI1", Stage.COMPLETE, {"media_urls": [link]}))

    assert found == [Wanted(MediaKind.ATTACHMENT, "text-messages/SCI1/media/0")]


@pytest.mark.parametrize("link", ["https://evil.example/a?k=5ecret", "http://[bad", 7, "/media/0"])
def test_a_link_of_another_form_is_refused_and_not_repeated(link: object) -> None:
    (found,) = wanted_of("text", "SCI1", Stage.COMPLETE, {"media_urls": [link]})

    assert found.problem is not None
    assert "5ecret" not in str(found)


def test_what_is_asked_for_stays_below_the_account() -> None:
    (recording,) = wanted_of("call", "../../x", Stage.ENDED, {"recording": LINK})
    (media,) = wanted_of("text", "t", Stage.COMPLETE, {"media_urls": ["https://x/messages/../media/0"]})

    assert recording.problem
    assert media.problem


def test_a_text_has_so_many_files_at_most() -> None:
    links = ["https://x/messages/SCI1/media/1"] * 1000
    assert len(list(wanted_of("text", "SCI1", Stage.COMPLETE, {"media_urls": links}))) == MOST_OF_A_TEXT
