"""The accounts that a key sees, each with its two ids."""

from __future__ import annotations

from routers.fake_callrail.asking import Ask
from routers.fake_callrail.paging import page
from routers.fake_callrail.routing import answers
from routers.fake_callrail.world import Account, Json


def list_accounts(ask: Ask) -> Json:
    """All of them; the one operation that stands outside any account."""
    accounts = sorted(ask.world.accounts, key=lambda each: each.name, reverse=ask.text("order") == "desc")
    if ask.text("hipaa_account") == "true":
        accounts = []
    return page(ask, "accounts", accounts, lambda each: _told(ask, each))


@answers("GET", "")
def get_account(ask: Ask) -> Json:
    """One account."""
    return _told(ask, ask.account)


def _told(ask: Ask, account: Account) -> Json:
    return ask.with_fields(
        {"id": account.id, "name": account.name, "outbound_recording_enabled": True, "hipaa_account": False},
        {"numeric_id": account.numeric_id},
    )
