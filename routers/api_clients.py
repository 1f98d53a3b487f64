"""The clients of CallRail's API as a serving process has them: their requests are counted in the database."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING

from callrail.exceptions import InvalidRequest
from receiver.exceptions import DatabaseUnavailable
from receiver.loggers import get_logger
from routers.accounts import AccountConfig, NamedAccount, NoAccount, client_of, opened
from routers.budgets import Priority, SqlBudgets, Transactions
from routers.config import Configuration
from routers.sinks.callrail import CallRailConfig
from routers.sinks.sink import Check

if TYPE_CHECKING:
    from callrail.client import CallRail

_log = get_logger(__name__)


def keys_for(configuration: Configuration, sink: CallRailConfig, environ: Mapping[str, str]) -> list[Check]:
    """Whether the accounts in which *sink* acts have their keys here; CallRail is not asked."""
    accounts = [sink.account] if sink.account else map(configuration.account_of, configuration.company_configs)
    checks = []
    for name in sorted({each for each in accounts if each is not None}):
        remedy = ""
        try:
            opened(NamedAccount(name, configuration.accounts[name], configuration.document.file), environ)
        except (NoAccount, InvalidRequest) as error:
            remedy = str(error)
        checks.append(Check(f"the account {name} has a key", ok=not remedy, remedy=remedy))
    return checks


@contextlib.asynccontextmanager
async def api_clients(
    configuration: Configuration,
    transactions: Transactions,
    priority: Priority,
    is_wanted: Callable[[AccountConfig], bool],
    *,
    is_paced: bool = False,
) -> AsyncIterator[Mapping[str, CallRail]]:
    """By account that is wanted, its client, while the block runs. An account without its key has none.

    A key that is missing or can be none keeps no server from running: what would be asked fails, and says so.

    Args:
        is_paced: See `SqlBudgets`.
    """
    budgets = SqlBudgets(transactions, priority, is_paced=is_paced)
    clients: dict[str, CallRail] = {}
    for name, config in configuration.accounts.items():
        if not is_wanted(config):
            continue
        try:
            account = opened(NamedAccount(name, config, configuration.document.file), os.environ)
            clients[name] = client_of(account, budgets)
        except (NoAccount, InvalidRequest) as error:
            _log.error("serve.no_api_key", account=name, reason=str(error))
    try:
        yield clients
    finally:
        for client in clients.values():
            await client.aclose()
        with contextlib.suppress(DatabaseUnavailable):  # what was taken ahead counts as used then
            await budgets.aclose()
