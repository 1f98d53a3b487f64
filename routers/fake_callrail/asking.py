"""A request as a resource's module sees it: what is asked for, read and checked as CallRail does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from routers.fake_callrail.quirks import Quirks
from routers.fake_callrail.world import Account, Json, Key, World

NO_PERMISSION = "You do not have permission to perform the requested action"
Row = TypeVar("Row")
_MOST_DIGITS = 9


class Refused(Exception):
    """The request is answered with an error, in JSON or as plain text."""

    def __init__(
        self, status: int, told: str, headers: Mapping[str, str] | None = None, *, as_text: bool = False
    ) -> None:
        super().__init__(status, told)
        self.status = status
        self.body: str | Json = told if as_text else {"error": told}
        self.headers = dict(headers or {})


def not_found() -> Refused:
    """As CallRail answers for what is not there (observed)."""
    return Refused(404, "Not found")


@dataclass(frozen=True)
class Ask:
    """One request.

    *account_as_asked* is the id in the path, *ids* are those after it; *origin* is where we are reached, like `http://127.0.0.1:8090`.
    """

    world: World
    quirks: Quirks
    account: Account
    account_as_asked: str
    key: Key
    ids: tuple[str, ...]
    query: list[tuple[str, str]]
    body: Json
    files: Mapping[str, bytes]
    origin: str

    def text(self, name: str) -> str | None:
        """The query's parameter; the last where it stands twice."""
        return next((value for key, value in reversed(self.query) if key == name), None)

    def number(self, name: str) -> int | None:
        """The query's parameter as a number.

        Raises:
            Refused: It is none.
        """
        text = self.text(name)
        if not text:
            return None
        if not text.isascii() or not text.isdigit() or len(text) > _MOST_DIGITS:
            raise Refused(400, f"{name} is invalid")
        return int(text)

    def one_of(self, name: str, choices: Iterable[str]) -> str | None:
        """The query's parameter where it has one of the values known; others are ignored, as CallRail ignores them."""
        value = self.text(name)
        return value if value in set(choices) else None

    def many(self, name: str) -> list[str]:
        """The values of a parameter that may have several: `tags[]=A&tags[]=B` or `tags=A,B`."""
        several = [value for key, value in self.query if key == f"{name}[]"]
        return several or [part for part in (self.text(name) or "").split(",") if part]

    def required(self, name: str) -> str:
        """The query's parameter.

        Raises:
            Refused: It is not there.
        """
        value = self.text(name)
        if not value:
            raise Refused(400, f"missing required parameter '{name}'")
        return value

    def required_in_body(self, *names: str) -> None:
        """
        Raises:
            Refused: One of *names* is not in the body, or empty.
        """
        for name in names:
            if self.body.get(name) in (None, "", [], {}):
                raise Refused(400, f"missing required parameter '{name}'")

    def company(self, company_id: str | None) -> Json:
        """The account's company.

        Raises:
            Refused: It is not one of this account.
        """
        company = self.account.companies.get(company_id or "")
        if company is None:
            raise not_found()
        return company

    def needs_admin(self) -> None:
        """
        Raises:
            Refused: The key's user is none.
        """
        if self.key.role != "admin":
            raise Refused(403, NO_PERMISSION)

    def with_fields(self, defaults: Json, extra: Json) -> Json:
        """*defaults* and those of *extra* that `fields=` names. Names that do not exist are ignored (assumed)."""
        return defaults | {name: extra[name] for name in self.many("fields") if name in extra}


def found(objects: Mapping[Any, Json], key: Any) -> Json:
    """The object with this id.

    Raises:
        Refused: There is none.
    """
    if key not in objects:
        raise not_found()
    return objects[key]


def found_by_number(objects: Mapping[int, Json], text: str) -> Json:
    """The object whose id is the number *text*.

    Raises:
        Refused: There is none.
    """
    return found(objects, int(text) if text.isascii() and text.isdigit() else None)


def changed(target: Json, body: Json, names: Iterable[str]) -> Json:
    """*target* with what *body* tells of *names*: what is absent stays, null and "" clear (documented)."""
    for name in names:
        if name in body:
            target[name] = None if body[name] == "" else body[name]
    return target


def tagged(ask: Ask, company: Json, now: Iterable[str]) -> list[str]:
    """The tags that an object has after an update: those in the body replace those of *now*, unless they are appended.

    Names that no tag has become tags of the company (documented).
    """
    names = [str(name) for name in ask.body.get("tags") or []]
    kept = list(now) if ask.body.get("append_tags") in (True, "true") else []
    known = {tag["name"] for tag in ask.account.tags.values()}
    for name in names:
        if name not in known:
            number = ask.world.new_number()
            ask.account.tags[number] = new_tag(ask, number, name, company_id=company["id"])
            known.add(name)
    return list(dict.fromkeys([*kept, *names]))


def new_tag(ask: Ask, number: int, name: str, *, company_id: str | None, color: str = "gray1") -> Json:
    """A tag as it is kept; of the account where it has no company."""
    return {
        "id": number,
        "name": name,
        "tag_level": "company" if company_id else "account",
        "color": color,
        "background_color": color,
        "company_id": company_id,
        "status": "enabled",
        "created_at": ask.world.now().isoformat(timespec="milliseconds"),
    }


Handler = Callable[[Ask], "Json | Told"]


@dataclass(frozen=True)
class Told:
    """An answer other than 200 with an object. *content* with its type instead of JSON; *headers* beside."""

    status: int
    body: Json | None = None
    content: bytes = b""
    media_type: str | None = None
    headers: Mapping[str, str] | None = None


def created(body: Json) -> Told:
    """201, with what was made."""
    return Told(201, body)


NO_CONTENT = Told(204)
