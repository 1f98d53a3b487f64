"""What the client does when CallRail does not answer as it should, or answers elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from callrail.budgets import Allowance, InMemoryBudgets
from callrail.client import CallRail
from callrail.exceptions import (
    AccountUnknown,
    AnswerError,
    AnswerLost,
    BudgetSpent,
    Forbidden,
    InvalidRequest,
    NotFound,
    NotSent,
    PagingError,
    RateLimited,
    Rejected,
    ServerFault,
    Unauthorized,
    UnexpectedAnswer,
)
from callrail.operation import UNSET
from callrail.request import Budget
from tests.callrail.api.conftest import ACCOUNT, KEY, NOW, Api, Time, page, telling
from tests.fakes.destination import (
    Behaviour,
    answer,
    break_off_in_the_body,
    port_nobody_listens_on,
    redirect,
    reset,
    running_destination,
)

pytestmark = pytest.mark.anyio

NUMBER = "+14045550123"
HTML = answer(502, headers={"content-type": "text/html"}, body=b"<html>Bad gateway</html>")
BUSY = telling({"error": "Too many requests"}, 429)
CALLS = f"/v3/a/{ACCOUNT}/calls"


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (400, b'{"error": "group_by must be: x"}', Rejected, "group_by must be: x"),
        (401, b"HTTP Token: Access denied.\n", Unauthorized, "the API key is wrong"),
        (403, b'{"error": "You do not have permission"}', Forbidden, "read-only"),
        (404, b'{"error": "Not found"}', NotFound, "marked as spam"),
        (406, b"", Rejected, "406"),
        (422, b'{"errors": ["Name can not be blank"]}', Rejected, "Name can not be blank"),
        (302, b"", UnexpectedAnswer, "redirect"),
        (502, b"<html>Bad gateway</html>", ServerFault, "CallRail's side is at fault"),
    ],
)
async def test_an_error_says_what_callrail_said_and_what_to_do(
    api: Api, status: int, body: bytes, kind: type[AnswerError], said: str
) -> None:
    api.answers(page("accounts"), {"id": "proved"}, answer(status, headers={"x-request-id": "r-1"}, body=body))
    async for _ in api.client.accounts.list():
        pass
    await api.client.calls.get("CAL1")  # the account's id has proved right

    with pytest.raises(kind) as raised:
        await api.client.calls.get("CAL2")

    assert raised.value.status == status
    assert raised.value.request_id == "r-1"
    assert said in str(raised.value)
    assert "calls.get" in str(raised.value)
    assert "<html>" not in str(raised.value)


async def test_the_key_is_in_no_error_no_repr_and_no_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    api.answers(telling({"error": "no"}, 401))

    with pytest.raises(Unauthorized) as raised:
        await api.client.users.get("USR1")

    assert KEY not in f"{raised.value!r} {raised.value} {api.client!r} {caplog.text}"


@pytest.mark.parametrize("failure", [HTML, reset, break_off_in_the_body], ids=["502", "reset", "cut off"])
async def test_what_reads_or_sets_is_tried_again(api: Api, failure: Any) -> None:
    api.answers(failure, failure, {"id": "CAL1"}, failure, {"id": "CAL1"})

    assert (await api.client.calls.get("CAL1")).id == "CAL1"
    assert (await api.client.calls.update("CAL1", note="x")).id == "CAL1"
    assert len(api.server.requests) == 5
    assert len(api.time.slept) == 3


@pytest.mark.parametrize("failure", [HTML, reset], ids=["502", "reset"])
async def test_what_adds_rings_texts_costs_or_deletes_is_not(api: Api, failure: Any) -> None:
    api.answers(failure)
    everything: list[Callable[[], Awaitable[Any]]] = [
        lambda: api.client.tags.create(name="A", company_id="COM1"),
        lambda: api.client.calls.create(caller_id="1", customer_phone_number=NUMBER, business_phone_number=NUMBER),
        lambda: api.client.text_messages.send(company_id="COM1", customer_phone_number=NUMBER, content="Hi"),
        lambda: api.client.calls.update("CAL1", spam=True),
        lambda: api.client.integrations.update("1", state="disabled"),
        lambda: api.client.request("PUT", "/v3/a/{account_id}/calls/CAL1.json", json={"spam": True}),
        lambda: api.client.request("PUT", "/v3/a/{account_id}/trackers/TRK1.json", json={"pool_size": 8}),
        lambda: api.client.request("PUT", "/v3/a/{account_id}/not-known.json", json={}),
        lambda: api.client.trackers.update("TRK1", pool_size=8),
        lambda: api.client.tags.delete("1"),
        lambda: api.client.request("POST", "/v3/a/{account_id}/tags.json", json={}),
    ]

    for call in everything:
        with pytest.raises((ServerFault, AnswerLost)):
            await call()

    assert len(api.server.requests) == len(everything)
    assert api.time.slept == []


async def test_a_raw_put_that_is_a_harmless_operation_is_tried_again(api: Api) -> None:
    api.answers(HTML, {"id": "CAL1"})
    await api.client.request("PUT", "/v3/a/{account_id}/calls/CAL1.json", json={"note": "x"})
    assert len(api.server.requests) == 2


async def test_it_gives_up_after_four_tries(api: Api) -> None:
    api.answers(HTML)

    with pytest.raises(ServerFault):
        await api.client.calls.get("CAL1")

    assert len(api.server.requests) == 4


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_a_429_is_tried_again_for_every_method_when_it_asks_to(api: Api, method: str) -> None:
    api.answers(BUSY, telling({}, 429, retry_after="7"), BUSY, BUSY, BUSY, {"id": "1"})

    await api.client.request(method, "/v3/a/{account_id}/tags.json", deadline=timedelta(minutes=10))

    assert len(api.server.requests) == 6
    assert api.time.slept[1] == 7


async def test_a_storm_of_429_ends_with_the_deadline(api: Api) -> None:
    api.answers(BUSY)

    with pytest.raises(RateLimited, match="limit of requests is reached"):
        await api.client.calls.get("CAL1", deadline=timedelta(seconds=20))

    assert sum(api.time.slept) < 20
    assert len(api.server.requests) > 2


async def test_whoever_shares_the_allowance_rests_after_a_storm_that_names_no_end(api: Api) -> None:
    """The third 429 in a row, and everybody waits a minute; then it is tried again."""
    api.answers(BUSY, BUSY, BUSY, {"id": "USR1"})
    client = api.another(budgets=InMemoryBudgets(now=api.time.now))
    async with client:
        with pytest.raises(RateLimited):
            await client.users.get("USR1", deadline=timedelta(seconds=6))
        with pytest.raises(BudgetSpent):
            await client.for_account(ACCOUNT).users.get("USR1", deadline=timedelta(seconds=6))
        assert len(api.server.requests) == 3
        assert (await client.users.get("USR1")).id == "USR1"
    assert sum(api.time.slept) >= 60


@pytest.mark.parametrize(("refused", "rests"), [(telling({}, 429, retry_after="3600"), 3_600), (BUSY, 60)])
async def test_a_429_beyond_the_deadline_is_not_waited_for_and_nobody_else_asks(
    api: Api, refused: Behaviour, rests: int
) -> None:
    """Whoever has little time does not ask again and again, nor do others, for as long as CallRail says."""
    api.answers(refused, {"id": "CAL1"})
    client = api.another(budgets=InMemoryBudgets(now=api.time.now))
    async with client:
        with pytest.raises(RateLimited):
            await client.calls.get("CAL1", deadline=timedelta(seconds=0.1))
        assert api.time.slept == []
        with pytest.raises(BudgetSpent) as spent:
            await client.for_account(ACCOUNT).calls.get("CAL2", deadline=timedelta(seconds=0.1))
        assert spent.value.free_at == api.time.now() + timedelta(seconds=rests)
        assert len(api.server.requests) == 1
        assert (await client.calls.get("CAL1", deadline=timedelta(hours=2))).id == "CAL1"


async def test_a_server_that_cannot_be_reached_is_tried_again_for_nothing_was_sent() -> None:
    time = Time()
    with port_nobody_listens_on() as port:
        async with CallRail(KEY, ACCOUNT, base_url=f"http://127.0.0.1:{port}", pace=time.pace()) as client:
            with pytest.raises(NotSent):
                await client.tags.create(name="A", company_id="COM1")

    assert len(time.slept) == 3


async def test_truncated_json_is_no_answer(api: Api) -> None:
    api.answers(answer(200, body=b'{"calls": [{"id": "CAL'))

    with pytest.raises(UnexpectedAnswer, match="not JSON, or was cut off"):
        await api.client.calls.get("CAL1")


async def test_a_list_without_its_rows_is_no_answer(api: Api) -> None:
    api.answers({"page": 1})

    with pytest.raises(UnexpectedAnswer, match="no list of tags"):
        [each async for each in api.client.tags.list()]


# --- redirects and hosts ---------------------------------------------------------------------------------------------


async def test_a_redirect_on_the_same_host_is_followed_once_with_the_key(api: Api) -> None:
    api.answers(redirect(f"{api.server.url}/v3/a/99/text-messages/k8mc8.json", 302), {"id": "k8mc8"})

    assert (await api.client.text_messages.get("k8mc8")).id == "k8mc8"
    assert api.sent[1] == ("GET", "/v3/a/99/text-messages/k8mc8.json")
    assert KEY in api.server.requests[1].headers["authorization"]


@pytest.mark.parametrize(
    "form", ["http://127.0.0.1:{port}/", "http://api.callrail.com@127.0.0.1:{port}/", "//127.0.0.1:{port}/"]
)
async def test_a_redirect_elsewhere_is_not_followed(api: Api, form: str) -> None:
    async with running_destination() as other:
        api.answers(redirect(form.format(port=other.port), 302))

        with pytest.raises(UnexpectedAnswer, match="redirect"):
            await api.client.calls.get("CAL1")

        assert other.requests == []


async def test_no_cookie_is_kept(api: Api) -> None:
    api.answers(telling({"id": "1"}, set_cookie="remember_device_token=1; Path=/"))

    await api.client.calls.get("CAL1")
    await api.client.calls.get("CAL1")

    assert "cookie" not in api.server.requests[1].headers


# --- paging ----------------------------------------------------------------------------------------------------------


async def test_calls_are_read_by_the_next_page_unchanged_and_repeats_left_out(api: Api) -> None:
    following = f"{api.server.url}/v3/a/99/calls?api_sort[][start_time]=desc&offset=1&format=json"
    api.answers(
        {"calls": [{"id": "1"}, {"id": "2"}], "has_next_page": True, "next_page": following},
        {"calls": [{"id": "2"}, {"id": "3"}], "has_next_page": False, "next_page": None},
    )

    found = [call.id async for call in api.client.calls.list(date_range="today")]

    assert found == ["1", "2", "3"]
    assert api.sent[0][1] == f"{CALLS}.json?date_range=today&per_page=250&relative_pagination=true"
    assert api.sent[1][1] == "/v3/a/99/calls?api_sort[][start_time]=desc&offset=1&format=json"


async def test_other_lists_are_read_by_page_numbers(api: Api) -> None:
    api.answers(page("tags", {"id": 1}, of=2), page("tags", {"id": 2}, of=2, number=2))

    pages = [each async for each in api.client.tags.list(per_page=1).pages()]

    assert [[tag.id for tag in each.rows] for each in pages] == [["1"], ["2"]]
    assert [(each.total, each.is_last) for each in pages] == [(2, False), (2, True)]
    assert [target.partition("?")[2] for _, target in api.sent] == ["per_page=1", "per_page=1&page=2"]


async def test_an_empty_list_of_no_pages_is_one_request(api: Api) -> None:
    api.answers({"page": 1, "per_page": 250, "total_pages": 0, "total_records": 0, "tags": []})

    assert [each async for each in api.client.tags.list()] == []
    assert len(api.server.requests) == 1


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/v3/a/99/calls", "https://api.callrail.com.example.com/v3", "http://127.0.0.1:1@evil/", None],
)
async def test_a_next_page_elsewhere_is_refused(api: Api, url: str | None) -> None:
    api.answers({"calls": [{"id": "1"}], "has_next_page": True, "next_page": url})

    with pytest.raises(PagingError, match="the next page is on"):
        [each async for each in api.client.calls.list(date_range="today")]

    assert len(api.server.requests) == 1


async def test_a_page_that_repeats_ends_the_reading(api: Api) -> None:
    api.answers(page("tags", {"id": 1}, of=9))

    with pytest.raises(PagingError, match="repeats"):
        [each async for each in api.client.tags.list()]

    assert len(api.server.requests) == 3  # one may repeat the one before, if many rows came meanwhile


async def test_next_pages_in_a_circle_end_the_reading(api: Api) -> None:
    urls = [f"{api.server.url}/v3/a/99/calls?offset={number}" for number in (1, 2, 1)]
    api.answers(*({"calls": [{"id": n}], "has_next_page": True, "next_page": url} for n, url in enumerate(urls)))

    with pytest.raises(PagingError, match="repeats"):
        [each async for each in api.client.calls.list(date_range="today")]


# --- accounts --------------------------------------------------------------------------------------------------------

SEEN = page("accounts", {"id": ACCOUNT, "numeric_id": 987654321})
MISSING = telling({"error": "Not found"}, 404)


async def test_on_404_the_accounts_other_id_is_tried_and_kept(api: Api) -> None:
    api.answers(MISSING, SEEN, {"id": "CAL1"}, {"id": "CAL2"})

    await api.client.calls.get("CAL1")
    await api.client.calls.get("CAL2")

    assert [target.partition("?")[0] for _, target in api.sent] == [
        f"{CALLS}/CAL1.json",
        "/v3/a.json",
        "/v3/a/987654321/calls/CAL1.json",
        "/v3/a/987654321/calls/CAL2.json",
    ]


async def test_what_is_really_missing_costs_nothing_more_once_the_id_has_proved_right(api: Api) -> None:
    api.answers({"id": "CAL1"}, MISSING)
    await api.client.calls.get("CAL1")

    with pytest.raises(NotFound):
        await api.client.calls.get("CAL2")

    assert len(api.server.requests) == 2


async def test_without_an_account_the_only_one_is_taken_and_of_several_none(api: Api) -> None:
    async with CallRail(KEY, base_url=api.server.url) as client:
        api.answers(SEEN, {"id": "CAL1"})
        await client.calls.get("CAL1")
    assert api.sent[-1][1] == f"{CALLS}/CAL1.json"

    async with CallRail(KEY, base_url=api.server.url) as client:
        api.answers(page("accounts", {"id": "ACC1"}, {"id": "ACC2"}))
        with pytest.raises(AccountUnknown, match="ACC1, ACC2"):
            await client.calls.get("CAL1")


async def test_another_account_of_the_same_key(api: Api) -> None:
    await api.client.for_account(42).request("GET", "/v3/a/{account_id}/tags.json", params={"tags": ["a", "b"]})

    assert api.sent == [("GET", "/v3/a/42/tags.json?tags%5B%5D=a&tags%5B%5D=b")]


# --- allowances ------------------------------------------------------------------------------------------------------


async def test_request_1001_of_an_hour_is_never_sent() -> None:
    moment = [NOW]
    budgets = InMemoryBudgets(now=lambda: moment[0])
    for _ in range(1_000):
        await budgets.take("ACC1", Budget.GENERAL)

    with pytest.raises(BudgetSpent) as raised:
        await budgets.take("ACC1", Budget.GENERAL)
    assert raised.value.free_at == NOW + timedelta(hours=1)
    await budgets.take("ACC2", Budget.GENERAL)
    await budgets.take("ACC1", Budget.TEXTS)

    moment[0] = NOW + timedelta(hours=1)
    await budgets.take("ACC1", Budget.GENERAL)


async def test_a_spent_allowance_is_waited_for_within_the_deadline_only(api: Api) -> None:
    budgets = InMemoryBudgets({Budget.GENERAL: Allowance(2, 10)}, now=api.time.now)
    async with CallRail(KEY, ACCOUNT, base_url=api.server.url, budgets=budgets, pace=api.time.pace()) as client:
        api.answers({"id": "CAL1"})
        await client.calls.get("CAL1")
        await client.calls.get("CAL1")
        with pytest.raises(BudgetSpent):
            await client.calls.get("CAL1")
        assert len(api.server.requests) == 2

        await client.calls.get("CAL1", deadline=timedelta(hours=2))
        assert sum(api.time.slept) == 3600


async def test_what_callrail_tells_of_its_limits_is_learned(api: Api) -> None:
    told = {"x_rate_limit_hourly_allowed": "150", "x_rate_limit_hourly_used": "149"}
    api.answers(telling({"id": "k8mc8"}, 201, **told))
    text: dict[str, Any] = {"company_id": "COM1", "customer_phone_number": "+14045550123", "content": "Hi"}
    await api.client.text_messages.send(**text)
    await api.client.text_messages.send(**text)

    with pytest.raises(BudgetSpent, match="texts"):
        await api.client.text_messages.send(**text)


@pytest.mark.parametrize("told", ["", "-1", "many", "9" * 5000, "²"])
async def test_limits_that_are_no_numbers_are_not_learned(api: Api, told: str) -> None:
    api.answers(
        telling({"id": "1"}, x_rate_limit_hourly_allowed=told.encode().decode("latin-1"), x_rate_limit_hourly_used="0")
    )

    await api.client.calls.get("CAL1")
    await api.client.calls.get("CAL1")


# --- what is refused before it is sent -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "needs a date: without one CallRail answers for the last seven days only"),
        ({"date_range": "all_time"}, "keeps 25 months"),
        ({"start_date": "2024-02-01"}, "keeps 25 months"),
        ({"start_date": "yesterday"}, "takes a date such as"),
        ({"start_date": "2026-03-02", "end_date": "2026-03-01"}, "is before"),
        ({"date_range": "today", "call_tpe": "missed"}, "did you mean call_type?"),
        ({"date_range": "today", "call_type": "misssed"}, "did you mean missed?"),
        ({"date_range": "today", "tags": "A"}, "takes a list"),
        ({"date_range": "today", "fields": ["tagz"]}, "CallRail knows"),
        ({"date_range": "today", "per_page": 251}, "takes 1 to 250"),
    ],
)
async def test_a_list_that_would_not_answer_what_it_asks_is_refused(api: Api, arguments: Any, said: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        api.client.calls.list(**arguments)

    assert said in str(raised.value)
    assert api.server.requests == []


async def test_extra_params_are_the_way_out(api: Api) -> None:
    api.answers(page("calls"))

    [each async for each in api.client.calls.list(date_range="today", extra_params={"brand_new": True})]

    assert "brand_new=true" in api.sent[0][1]


@pytest.mark.parametrize("call_id", ["CAL/../users", "CAL?x=1", "CAL%2F", "CAL 1", "CÄL", "CAL#x"])
async def test_an_id_never_changes_the_path(api: Api, call_id: str) -> None:
    api.answers({"id": "1"})

    await api.client.calls.get(call_id)

    segments = api.sent[0][1].split("/")
    assert len(segments) == 6
    assert "?" not in api.sent[0][1]


@pytest.mark.parametrize("call_id", ["", " ", ".", "..", None])
async def test_what_is_no_id_is_refused(api: Api, call_id: Any) -> None:
    with pytest.raises(InvalidRequest, match="call_id is empty or no id"):
        await api.client.calls.get(call_id)

    assert api.server.requests == []


@pytest.mark.parametrize("path", ["https://evil.example.com/v3/a.json", "/v2/a.json", "/v3/a .json", "v3/a.json"])
async def test_a_raw_request_goes_to_the_api_alone(api: Api, path: str) -> None:
    with pytest.raises(InvalidRequest, match="must begin with /v3/"):
        await api.client.request("GET", path)


@pytest.mark.parametrize("key", ["", "a b", "a\nb", 'a"b', "ä"])
def test_what_is_no_key_is_refused_without_repeating_it(key: str) -> None:
    with pytest.raises(InvalidRequest, match="the API key is empty or holds"):
        CallRail(key)


def test_unset_says_so() -> None:
    assert repr(UNSET) == "UNSET"


# --- files -----------------------------------------------------------------------------------------------------------


async def test_media_are_fetched_behind_redirects_and_the_key_goes_to_the_api_alone(api: Api, tmp_path: Path) -> None:
    async with running_destination() as storage:
        storage.behaves(answer(200, headers={"content-type": "image/png"}, body=b"picture"))
        api.answers(redirect(f"{storage.url}/signed?x=1", 302))

        saved = await api.client.download(f"{api.server.url}/v3/a/1/text-messages/SCI1/media/0", tmp_path / "a.png")

        assert (saved.size, saved.content_type) == (7, "image/png")
        assert (tmp_path / "a.png").read_bytes() == b"picture"
        assert KEY in api.server.requests[0].headers["authorization"]
        assert "authorization" not in storage.requests[0].headers


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@pytest.mark.parametrize("failure", [HTML, break_off_in_the_body, answer(200, body=b"12345678")])
async def test_a_download_that_fails_leaves_nothing(api: Api, tmp_path: Path, failure: Any) -> None:
    api.answers(failure)

    with pytest.raises((AnswerError, AnswerLost)):
        await api.client.download(f"{api.server.url}/media", tmp_path / "a.png", max_bytes=7)

    assert left_in(tmp_path) == []


async def test_redirects_in_a_circle_end(api: Api, tmp_path: Path) -> None:
    api.answers(redirect(f"{api.server.url}/again", 302))

    with pytest.raises(UnexpectedAnswer, match="more than 5 redirects"):
        await api.client.download(f"{api.server.url}/media", tmp_path / "a.png")


async def test_a_picture_of_this_machine_is_sent_as_a_form(api: Api, tmp_path: Path) -> None:
    picture = tmp_path / "drain.png"
    picture.write_bytes(b"\x89PNG\r\n picture")
    api.answers(telling({"id": "k8mc8"}, 201))

    await api.client.text_messages.send(
        company_id="COM1", customer_phone_number="+14045550123", content="See?", media_file=picture
    )

    request = api.server.requests[0]
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b'name="content"\r\n\r\nSee?' in request.body
    assert b'filename="drain.png"' in request.body
    assert b"\x89PNG\r\n picture" in request.body


# --- what a hostile reader found --------------------------------------------------------------------------------------


async def test_the_query_of_a_raw_request_is_sent_once(api: Api) -> None:
    api.answers({})
    await api.client.request("GET", "/v3/a/{account_id}/calls.json?date_range=today&per_page=5")
    assert api.server.requests[0].target == f"/v3/a/{ACCOUNT}/calls.json?date_range=today&per_page=5"


@pytest.mark.parametrize("path", ["/v3/../x", "/v3/a/%2e%2E/x", "/v3/a/./x", "/v3/a/.."])
async def test_a_raw_path_leads_nowhere_else(api: Api, path: str) -> None:
    with pytest.raises(InvalidRequest, match=r"\. or \.\."):
        await api.client.request("GET", path)
    assert api.server.requests == []


@pytest.mark.parametrize("total", ["3", 3])
async def test_the_number_of_pages_may_be_told_as_text(api: Api, total: Any) -> None:
    api.answers(*(page("tags", {"id": n}) | {"total_pages": total} for n in range(3)))
    assert [tag.id async for tag in api.client.tags.list()] == ["0", "1", "2"]


async def test_an_empty_page_before_the_last_is_an_error_and_no_end(api: Api) -> None:
    api.answers(page("tags", {"id": 1}, of=3), page("tags", of=3))
    with pytest.raises(PagingError, match="page 2 of 3 is empty"):
        [each async for each in api.client.tags.list()]


async def test_a_page_may_repeat_the_one_before_when_as_many_rows_came(api: Api) -> None:
    first = [{"id": 1}, {"id": 2}]
    api.answers(page("tags", *first, of=3), page("tags", *first, of=3), page("tags", {"id": 3}, of=3))
    assert [tag.id async for tag in api.client.tags.list()] == ["1", "2", "3"]


async def test_a_last_page_that_repeats_is_no_error(api: Api) -> None:
    api.answers(page("tags", {"id": 1}, of=2), page("tags", {"id": 1}, of=2))
    assert [tag.id async for tag in api.client.tags.list()] == ["1"]


async def test_a_row_is_told_once_also_within_a_page_and_two_pages_on(api: Api) -> None:
    pages = ([1, 1, 2], [3, 4], [1, 5])
    api.answers(*(page("tags", *({"id": n} for n in ids), of=3) for ids in pages))
    assert [tag.id async for tag in api.client.tags.list()] == ["1", "2", "3", "4", "5"]


async def test_rows_without_an_id_are_all_told(api: Api) -> None:
    views = [{"page_url": "https://e.com/a"}, {"page_url": "https://e.com/a"}]
    api.answers(*(page("page_views", *views, of=2) for _ in range(2)))
    assert len([each async for each in api.client.calls.page_views("CAL1")]) == 4


async def test_a_list_pages_by_itself(api: Api) -> None:
    with pytest.raises(InvalidRequest, match="what a list asks for by itself"):
        api.client.tags.list(extra_params={"page": "3"})


async def test_less_than_callrail_allows_stays_less_whatever_it_tells(api: Api) -> None:
    api.answers(telling({"id": "1"}, x_rate_limit_hourly_allowed="1000", x_rate_limit_hourly_used="1"))
    client = api.another(budgets=InMemoryBudgets({Budget.GENERAL: Allowance(2, 10)}, now=api.time.now))
    async with client:
        await client.users.get("USR1")
        await client.users.get("USR1")
        with pytest.raises(BudgetSpent):
            await client.users.get("USR1", deadline=timedelta(seconds=5))


async def test_a_redirect_that_is_followed_and_a_download_count(api: Api, tmp_path: Path) -> None:
    api.answers(redirect(f"{api.server.url}/v3/a/99/users/USR1.json", 302), {"id": "USR1"}, answer(200, body=b"x"))
    client = api.another(budgets=InMemoryBudgets({Budget.GENERAL: Allowance(3, 10)}, now=api.time.now))
    async with client:
        await client.users.get("USR1")
        await client.download(f"{api.server.url}/media", tmp_path / "a.png")
        with pytest.raises(BudgetSpent):
            await client.users.get("USR1", deadline=timedelta(seconds=5))


async def test_a_download_waits_as_a_429_asks(api: Api, tmp_path: Path) -> None:
    api.answers(telling({}, 429, retry_after="7"), answer(200, body=b"picture"))
    assert (await api.client.download(f"{api.server.url}/media", tmp_path / "a.png")).size == 7
    assert api.time.slept == [7]


async def test_a_429_of_a_download_that_cannot_be_waited_for_makes_all_rest(api: Api, tmp_path: Path) -> None:
    api.answers(telling({}, 429, retry_after="3600"))
    client = api.another(budgets=InMemoryBudgets(now=api.time.now))
    async with client:
        with pytest.raises(RateLimited):
            await client.download(f"{api.server.url}/media", tmp_path / "a.png")
        with pytest.raises(BudgetSpent):
            await client.for_account(ACCOUNT).users.get("USR1", deadline=timedelta(seconds=5))
    assert len(api.server.requests) == 1


async def test_what_a_call_tells_as_its_recording_leads_to_the_recording(api: Api, tmp_path: Path) -> None:
    api.answers({"url": f"{api.server.url}/file.mp3"}, answer(200, body=b"ID3 sound"))
    saved = await api.client.download(f"{api.server.url}/v3/a/1/calls/CAL1/recording.json", tmp_path / "a.mp3")
    assert (tmp_path / "a.mp3").read_bytes() == b"ID3 sound"
    assert saved.size == 9


async def test_a_link_that_has_expired_is_not_the_keys_fault(api: Api, tmp_path: Path) -> None:
    async with running_destination() as storage:
        storage.behaves(answer(403, body=b"<Error>expired</Error>"))
        api.answers(redirect(f"{storage.url}/file", 302))
        with pytest.raises(UnexpectedAnswer, match="such links do not last") as raised:
            await api.client.download(f"{api.server.url}/media", tmp_path / "a.png")
    assert "read-only" not in str(raised.value)


async def test_a_404_of_what_writes_is_sent_again_only_if_the_other_id_proves_right(api: Api) -> None:
    """Nothing was done, and still it goes to one id alone once it is known which works."""
    accounts = page("accounts", {"id": ACCOUNT, "numeric_id": 99})
    api.answers(telling({}, 404), accounts, page("companies"))
    with pytest.raises(NotFound):
        await api.client.tags.create(name="A", company_id="COM1")
    api.answers(telling({}, 404))
    with pytest.raises(NotFound):
        await api.client.tags.create(name="A", company_id="COM1")
    assert [request.method for request in api.server.requests] == ["POST", "GET", "GET", "POST"]


async def test_a_404_is_sent_to_the_other_id_where_that_proves_right(api: Api) -> None:
    accounts = page("accounts", {"id": ACCOUNT, "numeric_id": 99})
    api.answers(telling({}, 404), accounts, telling({}, 404), page("companies"), telling({"id": 1}, 201))
    await api.client.tags.create(name="A", company_id="COM1")
    assert [request.target.split("?")[0] for request in api.server.requests] == [
        f"/v3/a/{ACCOUNT}/tags.json",
        "/v3/a.json",
        f"/v3/a/{ACCOUNT}/companies.json",
        "/v3/a/99/companies.json",
        "/v3/a/99/tags.json",
    ]


async def test_trouble_with_the_other_id_does_not_hide_the_404(api: Api) -> None:
    api.answers(telling({}, 404), telling({"error": "no"}, 403))
    with pytest.raises(NotFound, match=r"calls\.get"):
        await api.client.calls.get("CAL1")


async def test_the_deadline_is_one_for_all_that_it_takes(api: Api) -> None:
    accounts = page("accounts", {"id": ACCOUNT, "numeric_id": 99})
    api.answers(
        telling({}, 429, retry_after="50"), telling({}, 404), accounts, telling({}, 429, retry_after="20"), {"id": "C"}
    )
    with pytest.raises(RateLimited):
        await api.client.calls.get("CAL1", deadline=timedelta(seconds=60))
    assert api.time.slept == [50]


@pytest.mark.parametrize("deadline", [timedelta(0), timedelta(seconds=-1), 5])
async def test_a_deadline_is_longer_than_nothing(api: Api, deadline: Any) -> None:
    with pytest.raises(InvalidRequest, match="deadline takes a timedelta"):
        await api.client.calls.get("CAL1", deadline=deadline)


async def test_an_answer_of_another_shape_is_told_without_its_content(api: Api) -> None:
    api.answers(answer(200, body=b'["+13125550147 Jane"]'))
    with pytest.raises(UnexpectedAnswer, match="another shape") as raised:
        await api.client.calls.get("CAL1")
    api.answers(page("tags", "+13125550147 Jane"))
    with pytest.raises(UnexpectedAnswer, match="another shape") as second:
        [each async for each in api.client.tags.list()]
    assert "3125550147" not in f"{raised.value!r} {second.value!r}"


async def test_an_error_that_repeats_the_request_is_not_repeated(api: Api) -> None:
    api.answers(telling({"params": {"customer_phone_number": "+13125550147"}}, 422))
    with pytest.raises(Rejected) as raised:
        await api.client.tags.create(name="A", company_id="COM1")
    assert "3125550147" not in f"{raised.value!r} {raised.value}"


async def test_addresses_that_are_none_are_clear_errors(api: Api, tmp_path: Path) -> None:
    api.answers({"calls": [{"id": 1}], "has_next_page": True, "next_page": "https://[bad"})
    with pytest.raises(PagingError, match="no host"):
        [each async for each in api.client.calls.list(date_range="today")]
    api.answers(redirect("http://[bad/x", 302))
    with pytest.raises(UnexpectedAnswer, match="redirect"):
        await api.client.users.get("USR1")
    with pytest.raises(InvalidRequest, match="no web address"):
        await api.client.download("http://[bad", tmp_path / "a")


@pytest.mark.parametrize("body", [{"a": float("nan")}, {"a": object()}, {"a": "\ud800"}])
async def test_what_json_cannot_hold_is_refused(api: Api, body: Any) -> None:
    with pytest.raises(InvalidRequest, match="what JSON cannot"):
        await api.client.form_submissions.create(
            company_id="COM1", form_url="https://e.com/", form_data=body, session_id="SES1"
        )
    assert api.server.requests == []


async def test_half_a_character_in_a_filter_is_refused(api: Api) -> None:
    with pytest.raises(InvalidRequest, match="half a character"):
        api.client.calls.list(date_range="today", search="\ud800")


async def test_a_dry_run_asks_nothing_not_even_whose_account_it_is(api: Api) -> None:
    async with api.another(account_id=None) as client:
        planned = (await client.tags.create(name="A", company_id="COM1", dry_run=True)).planned
    assert planned is not None
    assert planned.path == "/v3/a/{account_id}/tags.json"
    assert api.server.requests == []


async def test_what_was_told_and_what_is_planned_show_nothing_of_persons(api: Api) -> None:
    api.answers({"id": "CAL1", "customer_phone_number": "+13125550147"}, {"id": 1, "signing_key": "s3cret"})
    call, integration = await api.client.calls.get("CAL1"), await api.client.integrations.get("1")
    plan = await api.client.calls.update("CAL1", customer_name="Jane Doe", dry_run=True)
    assert repr(call) == "Call(id='CAL1')"
    shown = f"{call!r} {call} {integration!r} {plan.planned!r}"
    assert not any(secret in shown for secret in ("3125550147", "s3cret", "Jane"))


async def test_tags_without_a_name_hide_no_others(api: Api) -> None:
    api.answers({"id": "CAL1", "tags": [{"name": "Sales"}, {"id": 2}], "call_summary": [{"text": "Hi"}, "Bye"]})
    call = await api.client.calls.get("CAL1")
    assert (call.tags, call.call_summary) == (["Sales"], '{"text":"Hi"}\nBye')


async def test_no_log_holds_where_a_download_was_sent_to(
    api: Api, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    api.answers(redirect(f"{api.server.url}/file?X-Amz-Signature=SECRETSIG", 302), answer(200, body=b"x"))
    await api.client.download(f"{api.server.url}/media", tmp_path / "a.png")
    assert "SECRETSIG" not in caplog.text
