"""The pages of docs/reference/, written from the program itself: `python -m routers.reference` writes them anew.

Each page is a pure function that returns Markdown. What can be computed is: the tables of outcomes and of the three
values are the answers of the very functions that route events.
"""

from __future__ import annotations

from collections.abc import Callable

from routers.reference.api import api_page
from routers.reference.commands import commands_page
from routers.reference.fields import fields_page
from routers.reference.lookups import lookups_page
from routers.reference.markdown import page
from routers.reference.operators import operators_page
from routers.reference.reasons import reasons_page
from routers.reference.settings import settings_page
from routers.reference.transitions import transitions_page


def pages() -> dict[str, str]:
    """Every page by the name of its file."""
    written: dict[str, Callable[[], str]] = {
        "README.md": contents_page,
        "transitions.md": transitions_page,
        "fields.md": fields_page,
        "operators.md": operators_page,
        "lookups.md": lookups_page,
        "settings.md": settings_page,
        "reasons.md": reasons_page,
        "cli.md": commands_page,
        "api.md": api_page,
    }
    return {name: write() for name, write in written.items()}


def contents_page() -> str:
    """What there is to look up."""
    return page(
        "Reference",
        "What stands in the program, page by page. To learn the language of the rules, read [rules](../rules.md).",
        "* [Transitions](transitions.md): what can happen, which webhooks tell it, and how an outcome is decided.\n"
        "* [Fields](fields.md): what a rule can ask.\n"
        "* [Operators](operators.md): how it can ask.\n"
        "* [Look-ups](lookups.md): what rules and messages can see of CallRail's API.\n"
        "* [Settings](settings.md): every key of `router.yaml`.\n"
        "* [Reasons](reasons.md): why somebody was told, or was not.\n"
        "* [Commands](cli.md): every command with its options, and the exit codes.\n"
        "* [CallRail's API](api.md): every operation, in Python and in the shell.",
    )
