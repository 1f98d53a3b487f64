"""Accounts by name: which one is meant, what its key sees and may do; and our addresses put into CallRail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from callrail.kinds import Kind
from routers.accounts import NoAccount, named_accounts, open_account, personal_file
from routers.fake_callrail import FakeCallRail, faults, small_world
from routers.fake_callrail.integrations import WEBHOOK_KEYS
from routers.fake_callrail.serving import serve_in_background
from routers.webhooks import CONFIG_KEY
from tests.routers.running import Ran, run_here

ACME = "COM0191f00a1b2c7d3e8f405162738495a6"
HOOKS = "https://hooks.example.com"
RULES = """
sinks:
  log: {type: stdout}
rules:
  - id: missed
    when: [call.missed]
    send: [{to: log}]
  - id: assist
    when: [assist.completed]
    send: [{to: log}]
"""


@dataclass(frozen=True)
class Office:
    """A folder with a configuration, and a CallRail that answers at its account's address."""

    fake: FakeCallRail
    url: str
    folder: Path

    @property
    def account(self) -> Any:
        return self.fake.world.accounts[0]

    @property
    def hooks(self) -> Any:
        """The Webhooks integration of the first company."""
        return next(each for each in self.account.integrations.values() if each["type"] == "Webhooks")

    @property
    def environ(self) -> dict[str, str]:
        return {"HOME": str(self.folder / "home"), "XDG_CONFIG_HOME": "", "OFFICE_KEY": self.fake.world.key}

    def write(
        self, *, key: str = "env:OFFICE_KEY", account: str | None = None, signing_key: str = "env:SIGNING"
    ) -> None:
        (self.folder / "router.yaml").write_text(
            f"accounts:\n  main: {{account_id: {account or self.account.id}, api_key: {key}, base_url: '{self.url}'}}\n"
            f"companies:\n  acme: {{callrail_id: {ACME}, account: main, signing_keys: ['{signing_key}']}}\n{RULES}"
        )

    def run(self, *arguments: str, **environ: str) -> Ran:
        return run_here(*arguments, environ={**self.environ, **environ}, cwd=self.folder)

    def writes(self) -> list[tuple[str, str]]:
        return [(each.method, each.path) for each in self.fake.requests if each.method != "GET"]


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    for name in ("CALLRAIL_API_KEY", "CALLRAIL_ACCOUNT_ID", "CALLRAIL_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    fake = FakeCallRail(small_world(calls=30, seed=7, now=datetime.now(UTC)))
    with serve_in_background(fake) as url:
        office = Office(fake, url, tmp_path)
        office.write()
        yield office


# --- which account ----------------------------------------------------------------------------------------------------


def environ_of(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(tmp_path), **more}


def write_accounts(path: Path, **accounts: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("accounts:\n" + "".join(f"  {name}: {text}\n" for name, text in accounts.items()))
    return path


def test_a_name_picks_the_account_and_a_personal_one_hides_a_shared_one(tmp_path: Path) -> None:
    shared = write_accounts(
        tmp_path / "router.yaml", main="{account_id: ACC1, api_key: env:A}", other="{account_id: ACC2, api_key: env:A}"
    )
    environ = environ_of(tmp_path, A="aaa", B="bbb")
    own = write_accounts(personal_file(environ), main="{account_id: ACC3, api_key: env:B}")

    assert own == tmp_path / ".config" / "callrail-router" / "accounts.yaml"
    assert personal_file({"HOME": "/h", "XDG_CONFIG_HOME": "/x"}) == Path("/x/callrail-router/accounts.yaml")
    opened = open_account("main", shared, environ)
    assert (opened.account_id, opened.api_key, opened.place) == ("ACC3", "bbb", str(own))
    assert named_accounts(shared, environ)["main"].hides == str(shared)
    assert open_account("other", shared, environ).account_id == "ACC2"
    assert "bbb" not in repr(opened)


def test_the_only_account_is_meant_where_none_is_named(tmp_path: Path) -> None:
    shared = write_accounts(tmp_path / "router.yaml", main="{account_id: ACC1, api_key: env:A}")
    environ = environ_of(tmp_path, A="aaa")
    assert open_account(None, shared, environ).account_id == "ACC1"
    assert open_account("ACC7", shared, environ).account_id == "ACC7"  # another account of the same key


def test_a_key_in_the_environment_beats_the_files_unless_a_name_is_given(tmp_path: Path) -> None:
    shared = write_accounts(
        tmp_path / "router.yaml",
        main="{account_id: ACC1, api_key: env:A}",
        same="{account_id: ACC2, api_key: env:CALLRAIL_API_KEY, base_url: 'http://127.0.0.1:2'}",
    )
    environ = environ_of(tmp_path, A="aaa", CALLRAIL_API_KEY="ccc")
    opened = open_account(None, shared, environ)
    # The only account of that very key, where it is: the key of a stand-in never goes to CallRail.
    assert (opened.api_key, opened.account_id, opened.base_url) == ("ccc", "ACC2", "http://127.0.0.1:2")
    there = open_account(None, shared, {**environ, "CALLRAIL_BASE_URL": "http://127.0.0.1:1"})
    assert there.base_url == "http://127.0.0.1:1"
    assert open_account("main", shared, environ).api_key == "aaa"
    assert open_account("123456789", shared, environ).account_id == "123456789"


@pytest.mark.parametrize(
    ("accounts", "written", "said"),
    [
        ({}, None, "no API key: set the environment variable CALLRAIL_API_KEY"),
        (
            {"main": "{account_id: ACC1, api_key: env:A}", "two": "{account_id: ACC2, api_key: env:A}"},
            None,
            "main, two",
        ),
        ({"main": "{account_id: ACC1, api_key: env:A}"}, "mian", "did you mean 'main'"),
        ({"main": "{account_id: ACC1, api_key: env:A}"}, "nobody", "there are main"),
        ({}, "nobody", "names any"),
        ({"main": "{account_id: ACC1, api_key: env:GONE}"}, None, "GONE is not set"),
    ],
)
def test_what_is_not_to_be_found_is_said_with_the_remedy(
    tmp_path: Path, accounts: dict[str, str], written: str | None, said: str
) -> None:
    shared = tmp_path / "router.yaml"
    if accounts:
        write_accounts(shared, **accounts)
    with pytest.raises(NoAccount) as raised:
        open_account(written, shared, environ_of(tmp_path, A="aaa"))
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("accounts: {main: {account_id: ACC1, api_key: 0123}}", "accounts.main.api_key): a secret must be a reference"),
        ("accounts: {main: {account_id: ACC1}}", "'api_key' is missing"),
        ("acounts: {}", "accounts"),
        ("accounts: {main: {account_id: ACC1, api_key: env:A, base_url: 'ftp://x'}}", "scheme, host and port"),
    ],
)
def test_mistakes_in_the_personal_file_have_their_place(tmp_path: Path, text: str, said: str) -> None:
    environ = environ_of(tmp_path)
    own = personal_file(environ)
    own.parent.mkdir(parents=True)
    own.write_text(text)
    ran = run_here("accounts", "list", environ={**environ, "XDG_CONFIG_HOME": ""}, cwd=tmp_path)
    assert ran.code == 2
    assert f"{own}:1:" in ran.err
    assert said in ran.err
    assert "0123" not in ran.err


# --- accounts list and test -------------------------------------------------------------------------------------------


def test_the_list_shows_where_keys_are_and_never_the_keys(office: Office) -> None:
    (row,) = json.loads(office.run("accounts", "list", "-o", "json").out)
    assert row == {
        "name": "main",
        "account_id": office.account.id,
        "api_key": "env:OFFICE_KEY",
        "is_set": True,
        "place": "router.yaml",
    }
    rows = json.loads(office.run("accounts", "list", "-o", "json", CALLRAIL_API_KEY="ccc").out)
    assert rows[1]["place"] == "the environment"


def test_a_test_tells_what_the_key_sees_and_changes_nothing(office: Office) -> None:
    ran = office.run("accounts", "test")
    assert (ran.code, ran.err) == (0, "")
    assert "sees 2 accounts: Example Agency" in ran.out
    assert f"{office.account.id}, also known as {office.account.numeric_id}" in ran.out
    assert "2 companies" in ran.out
    assert "the key may write" in ran.out
    assert "lead_score" not in ran.out
    assert {path.rpartition("/")[2] for _, path in office.writes()} == {f"CAL{'0' * 32}.json"}  # which does not exist
    assert office.fake.world.key not in ran.out


def test_a_key_that_may_only_read_and_a_plan_that_shows_less(office: Office) -> None:
    office.write(key="env:READER", account=office.fake.world.accounts[1].id)
    ran = office.run("accounts", "test", "main", "-o", "json", READER=office.fake.world.read_only_key)
    (report,) = json.loads(ran.out)
    assert (ran.code, report["works"], report["may_write"]) == (0, True, False)
    assert "transcription" in report["lacks"]


@pytest.mark.parametrize(
    ("key", "account", "said"),
    [("wrong", None, "401"), (None, "ACCffff", "does not see the account ACCffff; it sees Example Agency")],
)
def test_a_key_that_does_not_work_says_why(office: Office, key: str | None, account: str | None, said: str) -> None:
    office.write(account=account)
    ran = office.run("accounts", "test", **({"OFFICE_KEY": key} if key else {}))
    assert ran.code == 1
    assert said in ran.out


def test_one_account_without_a_key_does_not_hide_the_others(office: Office) -> None:
    text = (office.folder / "router.yaml").read_text()
    (office.folder / "router.yaml").write_text(
        text.replace("accounts:\n", "accounts:\n  gone: {account_id: ACC9, api_key: env:GONE}\n")
    )
    ran = office.run("accounts", "test")
    assert ran.code == 1
    assert "GONE is not set" in ran.out
    assert "the key may write" in ran.out


def test_the_api_takes_an_account_by_name(office: Office) -> None:
    ran = office.run("api", "tags", "list", "--account", "main", "-o", "csv", "--columns", "name")
    assert ran.out.split() == ["name", "Sales", "Sales", "Service", "Service"]
    assert office.run("api", "tags", "list", "--account", "mian").err == (
        "Error: there is no account 'mian'; did you mean 'main'?\n"
    )


# --- api webhooks -----------------------------------------------------------------------------------------------------


def install(office: Office, *options: str, base_url: str = HOOKS, **environ: str) -> Ran:
    return office.run("api", "webhooks", "install", "acme", "--base-url", base_url, *options, **environ)


def test_our_addresses_stand_beside_those_of_others_and_a_second_run_changes_nothing(office: Office) -> None:
    before = json.loads(json.dumps(office.hooks["config"]))
    ran = install(office, "--yes")
    assert ran.code == 0, ran.err
    assert office.hooks["config"] == before | {
        "pre_call_webhook": [f"{HOOKS}/callrail/acme/pre_call"],
        "post_call_webhook": ["https://other.example.net/keep-me", f"{HOOKS}/callrail/acme/post_call"],
        "updated_call_webhook": [f"{HOOKS}/callrail/acme/call_modified"],
    }
    assert "beside https://other.example.net/…" in ran.out
    assert "keep-me" not in ran.out
    assert f"the API cannot set it; paste by hand: {HOOKS}/callrail/acme/convert_assist" in ran.out

    writes = office.writes()
    again = install(office)  # without --yes: there is nothing to ask
    assert (again.code, office.writes()) == (0, writes)
    assert "Nothing to do." in again.out


def test_a_plan_and_a_missing_yes_change_nothing(office: Office) -> None:
    assert install(office, "--plan").code == 0
    refused = install(office)
    assert refused.code == 2
    assert "--yes" in refused.err
    assert office.writes() == []


def test_an_integration_that_is_not_there_is_made_and_its_key_kept(office: Office) -> None:
    del office.account.integrations[office.hooks["id"]]
    kept = office.folder / "signing.key"
    ran = install(office, "--yes", "--signing-key-file", "signing.key")
    assert ran.code == 0, ran.err
    key = office.hooks["signing_key"]
    assert kept.read_text() == f"{key}\n"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert f"signing_keys: [file:{kept}]" in ran.err
    assert key not in ran.out + ran.err

    office.write(signing_key=f"file:{kept}")
    assert "is among signing_keys" in office.run("api", "webhooks", "status", "acme", "--base-url", HOOKS).out
    kept.write_text("another\n")
    other = install(office, "--yes", "--signing-key-file", "signing.key")
    assert (other.code, kept.read_text()) == (1, "another\n")


def test_status_names_what_is_missing_off_filtered_or_signed_otherwise(office: Office) -> None:
    office.hooks["state"] = "disabled"
    office.account.triggers[1] = {
        "id": 1,
        "company_id": ACME,
        "integration_id": None,
        "tracker_ids": [],
        "call_type": "first_call",
        "min_duration": 30,
        "max_duration": None,
        "lead_status": None,
        "integration": {"id": None, "type": "All (Default Integration Trigger)"},
    }
    ran = office.run("api", "webhooks", "status", "--base-url", HOOKS, SIGNING="not the one")
    assert ran.code == 1
    assert "integration disabled" in ran.out
    assert f"Post-Call: missing: {HOOKS}/callrail/acme/post_call" in ran.out
    assert "lets through first_call calls only, calls of 30 s and longer" in ran.out
    assert "NOT among signing_keys" in ran.out

    assert install(office, "--yes", "--activate").code == 0
    assert office.hooks["state"] == "active"
    done = office.run(
        "api", "webhooks", "status", "-o", "json", "--base-url", HOOKS, SIGNING=office.hooks["signing_key"]
    )
    (row,) = json.loads(done.out)
    assert (done.code, row["state"], row["missing"], row["is_key_known"]) == (0, "active", [], True)


def test_a_server_that_moved_replaces_its_own_addresses_only(office: Office) -> None:
    install(office, "--yes")
    ran = install(office, "--yes", "--replace", HOOKS, base_url="https://new.example.com/base")
    assert ran.code == 0, ran.err
    assert office.hooks["config"]["post_call_webhook"] == [
        "https://other.example.net/keep-me",
        "https://new.example.com/base/callrail/acme/post_call",
    ]
    assert "instead of https://hooks.example.com/callrail/acme/post_call" in ran.out


@pytest.mark.parametrize("base_url", ["http://hooks.example.com", "https://localhost", "http://127.0.0.1:8080"])
def test_an_address_that_callrail_cannot_reach_or_that_shows_names_is_refused(office: Office, base_url: str) -> None:
    assert install(office, "--yes", base_url=base_url).code == 2
    assert office.writes() == []
    assert install(office, "--yes", "--allow-insecure", base_url=base_url).code == 0


def test_what_callrail_does_not_keep_is_said(office: Office) -> None:
    forgets = faults.changed(
        lambda told: {**told, "integrations": [{**each, "config": {}} for each in told["integrations"]]}
    )
    path = f"/v3/a/{office.account.id}/integrations.json"
    right = faults.changed(lambda told: told)
    for fault in (right, right, forgets):  # before, once more before writing, after
        office.fake.faults.add("GET", path, fault)
    ran = install(office, "--yes")
    assert ran.code == 1
    assert "CallRail did not keep" in ran.err


def test_a_change_by_somebody_else_meanwhile_is_not_written_over(office: Office) -> None:
    path = f"/v3/a/{office.account.id}/integrations.json"
    office.fake.faults.add("GET", path, faults.changed(lambda told: told))
    office.fake.faults.add(
        "GET",
        path,
        faults.changed(
            lambda told: {
                **told,
                "integrations": [
                    {**each, "config": {**each["config"], "pre_call_webhook": ["https://new.example.net/"]}}
                    for each in told["integrations"]
                ],
            }
        ),
    )
    ran = install(office, "--yes")
    assert (ran.code, office.writes()) == (1, [])
    assert "changed meanwhile" in ran.err


def test_a_key_that_may_not_write_says_so_and_nothing_is_half_done(office: Office) -> None:
    before = json.loads(json.dumps(office.hooks["config"]))
    ran = install(office, "--yes", OFFICE_KEY=office.fake.world.read_only_key)
    assert ran.code == 1
    assert "read-only" in ran.err
    assert office.hooks["config"] == before


def test_a_company_without_its_id_at_callrail_says_where_to_write_it(office: Office) -> None:
    text = (office.folder / "router.yaml").read_text()
    (office.folder / "router.yaml").write_text(text.replace(f"callrail_id: {ACME}, ", ""))
    ran = install(office, "--yes")
    assert ran.code == 2
    assert "write callrail_id: COM..." in ran.err


def test_every_sort_that_callrail_has_a_key_for_can_be_set() -> None:
    assert set(CONFIG_KEY.values()) == set(WEBHOOK_KEYS)
    assert Kind.CONVERT_ASSIST not in CONFIG_KEY
