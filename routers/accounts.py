"""Accounts at CallRail by name: shared in `router.yaml`, or personal in the user's folder for settings.

Keys are references, so that a file can be shown and kept in version control.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from receiver.exceptions import ReceiverError, SecretMissing
from receiver.includes import read_with_includes
from receiver.positioned_yaml import Document, read, validate
from receiver.secrets import SecretRef
from routers.media.settings import MediaConfig, whether_or_how

if TYPE_CHECKING:
    from callrail.budgets import Budgets
    from callrail.client import CallRail

KEY, ACCOUNT, ADDRESS = "CALLRAIL_API_KEY", "CALLRAIL_ACCOUNT_ID", "CALLRAIL_BASE_URL"
ENVIRONMENT = "the environment"
_ID = re.compile(r"ACC\w+|\d+")


class NoAccount(ReceiverError):
    """Which account is meant, or its key, is not to be found; the text says what to do."""


def _address(written: str) -> str:
    parts = urlsplit(written)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.username:
        raise ValueError("write scheme, host and port only, like http://127.0.0.1:8090")
    return written.rstrip("/")


class UnheardCalls(StrEnum):
    """Which calls become events of which no webhook came: inbound ones that nobody answered, all, or none."""

    MISSED = "missed"
    ALL = "all"
    NONE = "none"


class AccountConfig(BaseModel):
    """An account at CallRail, for what is asked of its API."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    account_id: Annotated[str, Field(min_length=1)]
    """The account's id at CallRail, such as ACC0191..."""
    api_key: SecretRef
    """Where its API key is kept: env:NAME or file:/path."""
    early_outcomes: bool = False
    """Whether the API is asked how open calls ended, so that nobody waits for a post-call that CallRail holds back."""
    fetch_media: Annotated[MediaConfig | None, BeforeValidator(whether_or_how)] = None
    """Whether recordings and the media of texts are fetched and kept: true, or a block that says how."""
    unheard_calls: UnheardCalls = UnheardCalls.MISSED
    """With early_outcomes, which calls become events although no webhook told of them: missed, all or none."""
    base_url: Annotated[str, AfterValidator(_address)] | None = None
    """Where the API is, if not at CallRail: that of a stand-in."""


class _PersonalFile(BaseModel):
    model_config = ConfigDict(extra="forbid")
    accounts: dict[str, Any]


@dataclass(frozen=True)
class NamedAccount:
    """An account as a file names it. *place* is that file; *hides*: another file has one of the same name."""

    name: str
    config: AccountConfig
    place: str
    hides: str | None = None


@dataclass(frozen=True)
class OpenAccount:
    """An account with its key, ready to be asked. *account_id* is None where the key alone must tell."""

    name: str | None
    place: str
    account_id: str | None
    base_url: str | None
    api_key: str = field(repr=False)


def client_of(account: OpenAccount, budgets: Budgets | None = None) -> CallRail:
    """A client of the account, which counts its requests in *budgets*; without, in this process alone."""
    from callrail.client import BASE_URL, CallRail  # slow to load, and most commands only read the names

    return CallRail(account.api_key, account.account_id, base_url=account.base_url or BASE_URL, budgets=budgets)


def personal_file(environ: Mapping[str, str]) -> Path:
    """Where a user keeps accounts: `accounts.yaml` in the folder for settings."""
    folder = environ.get("XDG_CONFIG_HOME")
    home = Path(environ.get("HOME") or Path.home())
    return (Path(folder) if folder else home / ".config") / "callrail-router" / "accounts.yaml"


def named_accounts(config: Path, environ: Mapping[str, str]) -> dict[str, NamedAccount]:
    """All accounts by name: those of the file *config* if it is there, then the user's own, which hide others.

    Only the block `accounts` is read, so that a mistake in a rule keeps nobody from asking the API.

    Raises:
        ConfigError: A file or one of its accounts cannot be read.
    """
    accounts: dict[str, NamedAccount] = {}
    if config.exists():
        document = read_with_includes(config)
        accounts |= _accounts(document, _block(document), str(config), {})
    own = personal_file(environ)
    if own.exists():
        document = read(own)
        accounts |= _accounts(document, validate(_PersonalFile, document, document.value).accounts, str(own), accounts)
    return accounts


def _block(document: Document) -> Mapping[str, Any]:
    block = document.value.get("accounts")
    return block if isinstance(block, dict) else {}  # what else it may be, the check of the whole file says


def _accounts(
    document: Document, block: Mapping[str, Any], place: str, others: Mapping[str, NamedAccount]
) -> dict[str, NamedAccount]:
    return {
        name: NamedAccount(
            name,
            validate(AccountConfig, document, written, ("accounts", name)),
            place,
            others[name].place if name in others else None,
        )
        for name, written in block.items()
    }


def open_account(written: str | None, config: Path, environ: Mapping[str, str]) -> OpenAccount:
    """The account to ask.

    A name that a file knows picks that account. Otherwise the key in the environment is used, or that of the only
    account known, and *written* is the account's id.

    Args:
        written: A name or an id; None if nothing was said.

    Raises:
        NoAccount: It is not to be found, or has no key.
    """
    known = named_accounts(config, environ)
    if written in known:
        return opened(known[written], environ)
    if written is not None and not _ID.fullmatch(written):
        raise NoAccount(_unknown(written, known, config, environ))
    if key := environ.get(KEY):
        if (named := that_of_the_environment(known)) is not None:
            return opened(named, environ, account_id=written)
        return OpenAccount(None, ENVIRONMENT, written, environ.get(ADDRESS) or None, key)
    if not known:
        raise NoAccount(
            f"no API key: set the environment variable {KEY}, or name an account under accounts: in {config} or in "
            f"{personal_file(environ)}"
        )
    if len(known) > 1:
        raise NoAccount(f"several accounts are known: say which with --account, one of {', '.join(known)}")
    return opened(next(iter(known.values())), environ, account_id=written)


def opened(account: NamedAccount, environ: Mapping[str, str], *, account_id: str | None = None) -> OpenAccount:
    """*account* with its key; another of the key's accounts where *account_id* says so.

    Raises:
        NoAccount: The key is not there.
    """
    config = account.config
    try:
        key = config.api_key.resolve(environ)
    except SecretMissing as error:
        raise NoAccount(f"account {account.name} of {account.place} has no key: {error}") from None
    base_url = environ.get(ADDRESS) or config.base_url
    return OpenAccount(account.name, account.place, account_id or config.account_id, base_url, key)


def that_of_the_environment(known: Mapping[str, NamedAccount]) -> NamedAccount | None:
    """The only account whose key is the one in the environment; it may be one of a stand-in."""
    those = [each for each in known.values() if each.config.api_key == SecretRef("env", KEY)]
    return those[0] if len(those) == 1 else None


def _unknown(written: str, known: Mapping[str, NamedAccount], config: Path, environ: Mapping[str, str]) -> str:
    near = get_close_matches(written, known, n=1)
    if near:
        return f"there is no account '{written}'; did you mean '{near[0]}'?"
    there = f"there are {', '.join(known)}" if known else f"neither {config} nor {personal_file(environ)} names any"
    return f"'{written}' is no name of an account ({there}) and no id like ACC... or 123456789"
