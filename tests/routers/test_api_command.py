"""`callrail-router api` as a user runs it: the installed command, against a server on a real socket."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from callrail.client import resources
from routers.cli.api import ApiCommands, api
from routers.cli.api_output import safe_cell
from tests.callrail.api.conftest import page, telling
from tests.fakes.destination import Destination, running_destination

pytestmark = pytest.mark.anyio

KEY = "0123456789abcdef0123456789abcdef"
ROUTER = Path(sys.executable).with_name("callrail-router")
OPERATIONS = [operation for resource in resources().values() for operation in resource.operations.values()]


class Said(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
async def server() -> AsyncIterator[Destination]:
    async with running_destination() as destination:
        yield destination


async def said(server: Destination, *command: str, stdin: str = "", account: str = "ACC1") -> Said:
    environ = {**os.environ, "CALLRAIL_API_KEY": KEY, "CALLRAIL_BASE_URL": server.url, "CALLRAIL_ACCOUNT_ID": account}
    if not account:
        del environ["CALLRAIL_ACCOUNT_ID"]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe, env=environ)
    out, err = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return Said(process.returncode, out.decode(), err.decode())


async def run(server: Destination, *args: str, stdin: str = "") -> Said:
    return await said(server, str(ROUTER), "api", *args, stdin=stdin)


def command_of(names: Sequence[str]) -> click.Command:
    command: click.Command | None = api
    for name in names:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), name)
    assert command is not None
    return command


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_operation_is_a_command_with_an_option_for_each_parameter(operation) -> None:  # type: ignore[no-untyped-def]  # any operation
    command = command_of([operation.resource.replace("_", "-"), operation.verb.replace("_", "-")])

    assert {parameter.name for parameter in command.params} >= set(operation.parameters)
    text = command.get_help(click.Context(command, info_name="x"))
    assert operation.full_path in text.replace("\n", "").replace("  ", "")
    assert operation.purpose.split()[0] in text


def test_there_is_nothing_else() -> None:
    assert isinstance(api, ApiCommands)
    names = api.list_commands(click.Context(api))

    assert names == [*(name.replace("_", "-") for name in resources()), "webhooks", "request"]
    assert api.get_command(click.Context(api), "call") is None


async def test_a_list_prints_one_page_and_says_that_there_is_more(server: Destination) -> None:
    server.behaves(telling(page("tags", {"id": 1, "name": "A"}, {"id": 2, "name": "B"}, of=2)))

    told = await run(server, "tags", "list")

    assert [json.loads(line)["id"] for line in told.out.splitlines()] == [1, 2]
    assert told.err == "2 rows of 4; --all prints all.\n"
    assert told.code == 0
    assert len(server.requests) == 1


async def test_all_pages_as_csv_for_a_spreadsheet_that_runs_nothing(server: Destination) -> None:
    first, second = {"id": 1, "name": '=cmd|"/c calc"', "n": None}, {"id": 2, "name": "+14045550123", "n": [1]}
    server.behaves(telling(page("tags", first, of=2)), telling(page("tags", second, of=2, number=2)))

    told = await run(server, "tags", "list", "--all", "-o", "csv")

    assert told.out == 'id,name,n\n1,"\'=cmd|""/c calc""",\n2,+14045550123,[1]\n'
    assert told.err == ""


async def test_a_table_of_some_columns(server: Destination) -> None:
    server.behaves(telling(page("tags", {"id": 1, "name": "Long name"}, {"id": 22, "name": "B"})))

    told = await run(server, "tags", "list", "-o", "table", "--columns", "name,id")

    assert told.out.splitlines() == ["name       id", "Long name  1", "B          22"]


async def test_what_is_dangerous_needs_yes_and_a_dry_run_sends_nothing(server: Destination) -> None:
    call = ["calls", "create", "--caller-id", "1", "--customer-phone-number", "4045550123"]
    call += ["--business-phone-number", "4045550188"]
    server.behaves(telling({"id": "CAL1"}, 201))

    refused = await run(server, *call)
    planned = await run(server, *call, "--dry-run")
    assert server.requests == []
    done = await run(server, *call, "--yes")

    assert refused.code == 2
    assert "calls.create rings a phone and costs money. Say so with --yes" in refused.err
    assert json.loads(planned.out)["path"] == "/v3/a/ACC1/calls.json"
    assert json.loads(done.out) == {"id": "CAL1"}
    assert done.code == 0


async def test_an_option_may_be_dangerous_where_its_command_is_not(server: Destination) -> None:
    server.behaves(telling({"id": "CAL1"}))

    noted = await run(server, "calls", "update", "CAL1", "--note", "Called back")
    refused = await run(server, "calls", "update", "CAL1", "--spam")
    planned = await run(server, "calls", "update", "CAL1", "--spam", "--dry-run")

    assert noted.code == 0, noted.err
    assert refused.code == 2
    assert "calls.update deletes or switches off. Say so with --yes" in refused.err
    assert json.loads(planned.out)["body"] == {"spam": True}
    assert len(server.requests) == 1


async def test_values_are_set_and_cleared(server: Destination) -> None:
    server.behaves(telling({"id": "CAL1"}))

    await run(server, "calls", "update", "CAL1", "--tags", "A", "--tags", "B", "--append-tags", "--clear", "note")

    assert json.loads(server.requests[0].body) == {"note": None, "tags": ["A", "B"], "append_tags": True}


async def test_a_raw_request_asks_as_its_operation_would(server: Destination) -> None:
    server.behaves(telling({}))
    path = "/v3/a/{account_id}"

    refused = [
        await run(server, "request", "DELETE", f"{path}/tags/1.json"),
        await run(server, "request", "DELETE", f"{path}/what/1.json"),
        await run(server, "request", "PUT", f"{path}/calls/CAL1.json", "--json", '{"spam": true}'),
        await run(server, "integrations", "update", "1", "--state", "disabled"),
        await run(server, "companies", "bulk-update", "--company-ids", "all", "--no-external-form-capture"),
    ]
    assert [(each.code, "Say so with --yes" in each.err) for each in refused] == [(2, True)] * len(refused)
    assert server.requests == []

    for done in (
        await run(server, "request", "PUT", f"{path}/calls/CAL1.json", "--json", '{"note": "x"}'),
        await run(server, "request", "DELETE", f"{path}/tags/1.json", "--yes"),
        await run(server, "integrations", "update", "1", "--state", "active"),
    ):
        assert done.code == 0, done.err


async def test_a_parameter_that_stands_several_times_is_a_list(server: Destination) -> None:
    server.behaves(telling({}))

    await run(server, "request", "GET", "/v3/a/{account_id}/tags.json", "--param", "t[]=A", "--param", "t[]=B")
    wrong = await run(server, "request", "GET", "/v3/a/{account_id}/tags.json", "--param", "+13125550147")

    assert server.requests[0].target.endswith("?t%5B%5D=A&t%5B%5D=B")
    assert wrong.code == 2
    assert "3125550147" not in wrong.err


async def test_a_nested_body_is_json(server: Destination) -> None:
    server.behaves(telling({"id": 1}))

    await run(server, "integrations", "update", "1", "--config", '{"post_call_webhook": []}', "--yes")
    wrong = await run(server, "integrations", "update", "1", "--config", "{")

    assert json.loads(server.requests[0].body) == {"config": {"post_call_webhook": []}}
    assert wrong.code == 2
    assert "--config is no JSON" in wrong.err


async def test_objects_are_json_whatever_they_hold(server: Destination) -> None:
    """Not a switch, because there is one among their keys; the word `all` is none of them and is told as it is."""
    server.behaves(telling({"id": "TRK1"}, 201))
    arguments = ["trackers", "create", "--name", "Pool", "--type", "session", "--company-id", "COM1", "--source", "all"]
    arguments += ["--pool-size", "4", "--pool-numbers", '{"area_code": "404", "toll_free": false}', "--yes"]

    flow = {"type": "basic", "destination_number": "+14045550188", "recording_enabled": True}
    told = await run(server, *arguments, "--call-flow", json.dumps(flow))
    wrong = await run(server, *arguments, "--call-flow", '{"type": "basic", "recording_enabeld": true}')

    assert told.code == 0, told.err
    body = json.loads(server.requests[0].body)
    assert (body["call_flow"], body["source"]) == (flow, "all")
    assert body["pool_numbers"] == {"area_code": "404", "toll_free": False}
    assert "call_flow has no key recording_enabeld; did you mean recording_enabled?" in wrong.err
    assert len(server.requests) == 1


async def test_accounts_then_their_calls_then_each_call_in_one_pipeline(server: Destination) -> None:
    server.behaves(
        telling(page("accounts", {"id": "ACC1"}, {"id": "ACC2"})),
        telling({"calls": [{"id": "CAL1"}], "has_next_page": False}),
        telling({"calls": [{"id": "CAL2"}], "has_next_page": False}),
        telling({"id": "CAL1", "note": "one"}),
        telling({"id": "CAL2", "note": "two"}),
    )
    pipeline = (
        f"{ROUTER} api accounts list --all | {ROUTER} api calls list --each --date-range today --all"
        f" | {ROUTER} api calls get --each --fields note,tags"
    )

    told = await said(server, "bash", "-c", pipeline, account="")

    assert [json.loads(line)["note"] for line in told.out.splitlines()] == ["one", "two"]
    assert [request.target for request in server.requests[-2:]] == [
        "/v3/a/ACC1/calls/CAL1.json?fields=note%2Ctags",
        "/v3/a/ACC2/calls/CAL2.json?fields=note%2Ctags",
    ]


async def test_one_of_many_that_fails_is_told_and_the_rest_goes_on(server: Destination) -> None:
    server.behaves(telling({"id": "1"}), telling({"error": "no"}, 400), telling({"id": "3"}))

    told = await run(server, "calls", "get", "--each", stdin="CAL1\nCAL2\nCAL3\n")

    assert [json.loads(line)["id"] for line in told.out.splitlines()] == ["1", "3"]
    assert told.err == "Error: CAL2: GET calls.get: CallRail answered 400: no\n"
    assert told.code == 1


async def test_a_reader_that_has_seen_enough_ends_it_quietly(server: Destination) -> None:
    server.behaves(telling(page("tags", *({"id": number, "name": "x" * 500} for number in range(2_000)))))

    told = await said(server, "bash", "-c", f"{ROUTER} api tags list | head -1 | wc -l")

    assert told == Said(0, "1\n", "")


@pytest.mark.parametrize(
    ("args", "words", "code"),
    [
        (("calls", "list"), "needs a date", 2),
        (("calls", "get"), "calls.get needs call_id: CAL....", 2),
        (("calls", "list", "--call-type", "lost"), "is not one of", 2),
        (("tags", "list", "--extra-param", "x"), "NAME=VALUE", 2),
        (("request", "GET", "https://evil.example.com/"), "must begin with /v3/", 2),
    ],
)
async def test_a_mistake_gets_one_sentence(server: Destination, args: Sequence[str], words: str, code: int) -> None:
    told = await run(server, *args)

    assert words in told.err
    assert "Traceback" not in told.err
    assert told.code == code
    assert server.requests == []


async def test_any_request(server: Destination) -> None:
    server.behaves(telling({"tags": []}))

    told = await run(server, "request", "get", "/v3/a/{account_id}/tags.json", "--param", "status=enabled")

    assert json.loads(told.out) == {"tags": []}
    assert server.requests[0].target == "/v3/a/ACC1/tags.json?status=enabled"


@pytest.mark.parametrize("text", ["=1+1", "@SUM(1)", "-cmd", "+cmd|x", "\t=1"])
def test_what_a_spreadsheet_would_run_is_quoted(text: str) -> None:
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["+14045550123", "-5", "+1 (404) 555-0123", "Taylor", "", "a=b"])
def test_what_it_would_not_is_left(text: str) -> None:
    assert safe_cell(text) == text


RECIPES = Path(__file__).parent.parent.parent / "examples" / "api"
MISSED = {"calls": [{"id": "CAL1", "source": "Google Ads", "duration": 3}], "has_next_page": False}


async def test_the_recipe_calls_of_all_accounts(server: Destination) -> None:
    accounts = telling(page("accounts", {"id": "ACC1", "name": "Agency"}))
    server.behaves(accounts, telling(MISSED), telling({"id": "CAL1", "source": "Google Ads", "tags": ["A"]}))

    told = await said(server, sys.executable, str(RECIPES / "calls_of_all_accounts.py"))

    assert told == Said(0, "Agency None None Google Ads ['A']\n", "")


async def test_the_recipe_month_of_calls_to_csv_in_python_and_shell(server: Destination) -> None:
    accounts = telling(page("accounts", {"id": "ACC1"}))
    server.behaves(accounts, telling(MISSED))
    months = ("2026-10-01", "2026-10-31")

    told = await said(server, sys.executable, str(RECIPES / "month_of_calls_to_csv.py"), *months)
    assert told.out.splitlines() == [
        "id,start_time,direction,answered,duration,customer_phone_number,source",
        "CAL1,,,,3,,Google Ads",
    ]

    shell = (
        "calls",
        "list",
        "--start-date",
        months[0],
        "--end-date",
        months[1],
        "--fields",
        "source",
        "--all",
        "-o",
        "csv",
    )
    assert (await run(server, *shell)).out == "id,source,duration\nCAL1,Google Ads,3\n"


async def test_the_recipe_tag_missed_calls_in_python_and_shell(server: Destination) -> None:
    accounts = telling(page("accounts", {"id": "ACC1"}))
    server.behaves(accounts, telling(MISSED), telling({"id": "CAL1"}), telling(MISSED), telling({"id": "CAL1"}))

    told = await said(server, sys.executable, str(RECIPES / "tag_missed_calls.py"))
    pipeline = (
        f"{ROUTER} api calls list --date-range yesterday --answer-status missed --all"
        f' | {ROUTER} api calls update --each --tags "Call back" --append-tags'
    )
    await said(server, "bash", "-c", pipeline)

    assert told.out == "tagged CAL1\n"
    bodies = [json.loads(request.body) for request in server.requests if request.method == "PUT"]
    assert bodies == [{"tags": ["Call back"], "append_tags": True}] * 2
