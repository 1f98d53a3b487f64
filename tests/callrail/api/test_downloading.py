"""Where a file may be fetched from, and which of an account's two ids it is asked under."""

from __future__ import annotations

from pathlib import Path

import pytest

from callrail.downloading import require_callrails
from callrail.exceptions import ForeignHost, NoFile, NotFound, TooLong
from tests.callrail.api.conftest import ACCOUNT, Api, page, telling
from tests.fakes.destination import answer, redirect

pytestmark = pytest.mark.anyio

API = "https://api.callrail.com"
SIGNED = "X-Amz-Signature=5ecret"


@pytest.mark.parametrize(
    "url",
    [
        "https://api.callrail.com/v3/a/1/text-messages/SCI1/media/0",
        "https://app.callrail.com/calls/CAL1/recording/redirect?access_key=5ecret",
        f"https://calltrk-mms-media-prod1.s3.amazonaws.com/a.png?X-Amz-Date=1&{SIGNED}",
        "https://s3.us-east-1.amazonaws.com/bucket/a.png?AWSAccessKeyId=A&Expires=1&Signature=5ecret",
        "https://files.example.com/a.mp3",
    ],
)
def test_callrail_and_signed_links_of_its_storage_are_trusted(url: str) -> None:
    require_callrails(url, api=API, others=["example.com"])


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.mp3?access_key=5ecret",
        f"https://example.com/a.mp3?{SIGNED}",
        "https://s3.amazonaws.com/bucket/a.png?unsigned=5ecret",
        "https://s3.amazonaws.com/bucket/a.png?Signature=&key=5ecret",
        "https://evilcallrail.com/a.mp3?k=5ecret",
        f"https://amazonaws.com.example.com/a?{SIGNED}",
        "https://127.0.0.1/a.mp3?k=5ecret",
        "https://169.254.169.254/latest/meta-data?k=5ecret",
    ],
)
def test_any_other_host_is_refused_and_no_link_repeated(url: str) -> None:
    with pytest.raises(ForeignHost) as raised:
        require_callrails(url, api=API)

    assert "5ecret" not in str(raised.value)


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_a_redirect_to_a_foreign_host_is_not_followed(api: Api, tmp_path: Path) -> None:
    api.answers(redirect("http://192.0.2.1/file?Signature=5ecret", 302))

    with pytest.raises(ForeignHost, match=r"at 192\.0\.2\.1, and this is not where CallRail keeps files"):
        await api.client.download("/v3/a/{account_id}/media", tmp_path / "a.png", only_from=())

    assert left_in(tmp_path) == []


@pytest.mark.parametrize("told", [{}, {"url": None}, {"url": " "}, [1]])
async def test_where_no_file_is_told_there_is_none(api: Api, tmp_path: Path, told: object) -> None:
    api.answers(telling(told))

    with pytest.raises(NoFile):
        await api.client.download("/v3/a/{account_id}/calls/CAL1/recording.json", tmp_path / "a.mp3")


async def test_what_is_too_long_says_so(api: Api, tmp_path: Path) -> None:
    api.answers(answer(200, body=b"12345678"))

    with pytest.raises(TooLong, match="8 bytes are more than the 7 allowed"):
        await api.client.download("/v3/a/{account_id}/media", tmp_path / "a.png", max_bytes=7)


async def test_a_file_is_asked_for_under_the_account_s_other_id_too(api: Api, tmp_path: Path) -> None:
    """Which of its two ids an account answers to differs by account; the one that works is then kept to."""
    accounts = page("accounts", {"id": ACCOUNT, "numeric_id": 99})
    api.answers(telling({}, 404), accounts, answer(200, body=b"x"), answer(200, body=b"y"))

    await api.client.download("/v3/a/{account_id}/media", tmp_path / "a.png")
    await api.client.download("/v3/a/{account_id}/media", tmp_path / "b.png")

    asked = [request.target.partition("?")[0] for request in api.server.requests]
    assert asked == [f"/v3/a/{ACCOUNT}/media", "/v3/a.json", "/v3/a/99/media", "/v3/a/99/media"]


async def test_what_is_under_neither_id_is_not_there(api: Api, tmp_path: Path) -> None:
    api.answers(telling({}, 404), page("accounts", {"id": ACCOUNT, "numeric_id": 99}), telling({}, 404))

    with pytest.raises(NotFound):
        await api.client.download("/v3/a/{account_id}/media", tmp_path / "a.png")
