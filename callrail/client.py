"""The client of CallRail's API: one API key, one account at a time."""

from __future__ import annotations

import contextlib
import copy
import functools
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlsplit

from callrail.answer import Answer
from callrail.budgets import Budgets, InMemoryBudgets
from callrail.dates import require_dates
from callrail.downloading import THIS_MACHINE, Download, download
from callrail.exceptions import AccountUnknown, CallRailError, InvalidRequest, NotFound, UnexpectedAnswer
from callrail.operation import Operation, Resource
from callrail.paging import MAX_PER_PAGE, Listing
from callrail.request import Request, raw_request
from callrail.sending import Pace, Sender, elsewhere, is_under, parsed

if TYPE_CHECKING:  # each is loaded when it is first used
    from callrail.resources.accounts import Accounts
    from callrail.resources.caller_ids import CallerIds
    from callrail.resources.calls import Calls
    from callrail.resources.companies import Companies
    from callrail.resources.form_submissions import FormSubmissions
    from callrail.resources.integration_triggers import IntegrationTriggers
    from callrail.resources.integrations import Integrations
    from callrail.resources.leads import Leads
    from callrail.resources.message_flows import MessageFlows
    from callrail.resources.notifications import Notifications
    from callrail.resources.sms_threads import SmsThreads
    from callrail.resources.summary_emails import SummaryEmails
    from callrail.resources.tags import Tags
    from callrail.resources.text_messages import TextMessages
    from callrail.resources.trackers import Trackers
    from callrail.resources.users import Users

BASE_URL = "https://api.callrail.com"
TIMEOUT = timedelta(seconds=30)
DEADLINE = timedelta(minutes=2)
MAX_ANSWER_BYTES = 64 * 1024 * 1024


class CallRail:
    """CallRail's API, version 3, for one key.

    Args:
        api_key: Belongs to a user of CallRail and sees what that user sees.
        account_id: ``ACC...`` or the number; may be left out where the key sees one account only.
        base_url: Where the API is, a stand-in for example: scheme, host and port.
        budgets: Counts the account's requests; by default in memory, up to CallRail's documented limits.
        timeout: Bound on one request.
        deadline: Bound on an operation's request with its repetitions and waiting; on one page, for a list.
        allow_hosts: Hosts that downloads may be redirected to although they are loopback, private or reserved.

    Raises:
        InvalidRequest: Key or URL cannot be such.
    """

    accounts: Accounts
    caller_ids: CallerIds
    calls: Calls
    companies: Companies
    form_submissions: FormSubmissions
    integration_triggers: IntegrationTriggers
    integrations: Integrations
    leads: Leads
    message_flows: MessageFlows
    notifications: Notifications
    sms_threads: SmsThreads
    summary_emails: SummaryEmails
    tags: Tags
    text_messages: TextMessages
    trackers: Trackers
    users: Users

    def __init__(
        self,
        api_key: str,
        account_id: str | int | None = None,
        *,
        base_url: str = BASE_URL,
        budgets: Budgets | None = None,
        timeout: timedelta = TIMEOUT,
        deadline: timedelta = DEADLINE,
        allow_hosts: Iterable[str] = (),
        pace: Pace | None = None,
    ) -> None:
        if not api_key or not api_key.isascii() or not api_key.isprintable() or '"' in api_key or " " in api_key:
            raise InvalidRequest("the API key is empty or holds a character that no key has")
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
            raise InvalidRequest("base_url takes scheme, host and port only, such as https://api.callrail.com")
        from callrail.http import HttpClient  # slow to load: half of what importing the client would take

        pace = pace or Pace()
        # Who names the host of the API means it, also where that is a stand-in on this machine.
        allowed = (parts.hostname, *(THIS_MACHINE if parts.hostname in THIS_MACHINE else ()), *allow_hosts)
        http = HttpClient(timeout=timeout, allow_hosts=allowed, max_answer=MAX_ANSWER_BYTES)
        self._sender = Sender(
            http,
            base_url=f"{parts.scheme}://{parts.netloc}",
            api_key=api_key,
            budgets=budgets or InMemoryBudgets(now=pace.now),
            pace=pace,
        )
        self._deadline = deadline
        self._account = _Account(None if account_id is None else str(account_id))

    if not TYPE_CHECKING:  # a misspelt resource is a mistake that type checkers see

        def __getattr__(self, name: str) -> Any:
            """A resource, when it is first used."""
            if name not in CallRail.__annotations__:
                raise AttributeError(f"{type(self).__name__} has no {name}")
            bound = _resource(name)(self)
            setattr(self, name, bound)
            return bound

    def for_account(self, account_id: str | int) -> Self:
        """The same client for another account of the key; connections and allowances are shared."""
        other = copy.copy(self)
        for name in CallRail.__annotations__:
            vars(other).pop(name, None)  # what is bound to this client's account
        other._account = _Account(str(account_id))
        return other

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        deadline: timedelta | None = None,
    ) -> Any:
        """Any request to the API; the answer's JSON, None where it is empty.

        Authorisation, allowances, repetitions and errors are those of the operations; parameters are not checked.

        Args:
            path: From the host on; ``{account_id}`` is put in: ``/v3/a/{account_id}/tags.json``.
            params: The query; a list becomes ``name[]=a&name[]=b``.
            json: The body.

        Raises:
            InvalidRequest: *path* is none of the API's.
            AnswerError, NotSent, AnswerLost, BudgetSpent: As of every operation.
        """
        request = raw_request(method, path, params=params, json=json)
        declared = declared_as(request) if request.method != "GET" else None
        if declared is not None:
            dangers = declared.dangers_of({"extra_params": json if isinstance(json, dict) else {}})
            is_repeatable = request.method == "PUT" and not dangers
            request = replace(request, budget=declared.budget, is_repeatable=is_repeatable)
        if "{account_id}" in request.path:
            account_id = quote(await self._account_id(), safe="")
            request = replace(request, path=request.path.replace("{account_id}", account_id))
        return parsed(request, await self._send(request, deadline))

    async def download(
        self, url: str, to: Path, *, max_bytes: int | None = None, only_from: Collection[str] | None = None
    ) -> Download:
        """Save a recording or a text's media under *to*, piece by piece; nothing is left there if it fails.

        Args:
            url: As the API told it: of ``calls.recording`` or of ``media_urls``. Or a path of the API's, as `request`
                takes it: ``/v3/a/{account_id}/calls/CAL.../recording.json``.
            max_bytes: Refuse what is longer.
            only_from: Follow to CallRail's hosts, to signed links of its storage, and to these domains; anywhere where
                None.

        Raises:
            AnswerError, NotSent, AnswerLost: As of every operation.
            TooLong: It is longer than *max_bytes*.
            NoFile: CallRail tells of no file, or of none yet.
            ForeignHost: It is said to lie where *only_from* does not let us.
            UnexpectedAnswer: It was redirected too often, for example.
            OSError: It cannot be written.
        """
        account = self._account
        save = functools.partial(download, self._sender, to=to, max_bytes=max_bytes, only_from=only_from)
        if not url.startswith("/"):
            return await save(url, account=account.id or "")
        given = await self._account_id()
        try:
            saved = await save(self._under(url, account.working_id or given), account=given)
        except NotFound:  # as in `_send`
            other = None if account.is_proved else await self._other_id_if_told()
            if other is None:
                raise
            saved = await save(self._under(url, other), account=given)
            account.working_id = other
        account.is_proved = True
        return saved

    def _under(self, path: str, account_id: str) -> str:
        return self._sender.base_url + path.replace("{account_id}", quote(account_id, safe=""))

    async def aclose(self) -> None:
        """Close all connections, those of `for_account` too."""
        await self._sender.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # --- for operations and lists ---------------------------------------------------------------------------------

    async def _call(self, operation: Operation, given: Mapping[str, Any]) -> Any:
        self._check(operation, given)
        if given.get("dry_run"):
            # Whose account it would be is not asked either.
            request = operation.request(given, self._account.id or "{account_id}")
            planned = operation.answer()
            planned._planned = request
            return planned
        request = operation.request(given, await self._account_id() if operation.is_account_bound else "")
        told = parsed(request, await self._send(request, given.get("deadline")))
        return operation.read({} if told is None else told)

    def _list(self, operation: Operation, given: Mapping[str, Any]) -> Listing[Any]:
        self._check(operation, given)
        operation.request(given, "ACC")  # so that a mistake is told here, and not where the list is read
        return Listing(self, operation, given)

    async def _first_page(self, operation: Operation, given: Mapping[str, Any]) -> Request:
        request = operation.request(given, await self._account_id() if operation.is_account_bound else "")
        ways = {"relative_pagination": "true"} if operation.is_relative else {}
        return request.with_query(per_page=str(given.get("per_page", MAX_PER_PAGE)), **ways)

    async def _page(self, operation: Operation, request: Request, given: Mapping[str, Any]) -> Mapping[str, Any]:
        told = parsed(request, await self._send(request, given.get("deadline")))
        if not isinstance(told, dict) or not isinstance(told.get(operation.rows), list):
            raise UnexpectedAnswer(f"GET {operation.name}", 200, f"its body holds no list of {operation.rows}")
        return told

    def is_api(self, url: str) -> bool:
        """Whether *url* is of the API's own host."""
        return self._sender.is_ours(url)

    def _check(self, operation: Operation, given: Mapping[str, Any]) -> None:
        if operation.is_dated:
            require_dates(operation.name, given, self._sender.pace.now().date())
        per_page = given.get("per_page", MAX_PER_PAGE)
        if not isinstance(per_page, int) or not 1 <= per_page <= MAX_PER_PAGE:
            raise InvalidRequest(
                f"{operation.name}: per_page is no number that CallRail takes; it takes 1 to {MAX_PER_PAGE}"
            )

    # --- which account --------------------------------------------------------------------------------------------

    async def _account_id(self) -> str:
        if self._account.id is None:
            seen = [account.id async for account in self.accounts.list() if account.id]
            if len(seen) != 1:
                found = ", ".join(seen) or "none"
                raise AccountUnknown(
                    f"give account_id: the key sees {'several accounts' if seen else 'none'} ({found})"
                )
            self._account.id = seen[0]
        return self._account.id

    async def _send(self, request: Request, deadline: timedelta | None) -> Answer:
        """Send *request*; on a 404 under the account's other id, until one of the two has proved right.

        Which of its two ids an account answers to differs by account (observed).
        """
        account, monotonic = self._account, self._sender.pace.monotonic
        ends = monotonic() + (self._deadline if deadline is None else deadline).total_seconds()
        given = account.id or ""
        is_bound = bool(given) and is_under(request, given)
        sent = elsewhere(request, old=given, new=account.working_id or given) if is_bound else request
        try:
            answer = await self._sender.send(sent, account=given, ends=ends)
        except NotFound:
            other = await self._other_that_works(request, ends) if is_bound and not account.is_proved else None
            if other is None:
                raise
            answer = await self._sender.send(elsewhere(request, old=given, new=other), account=given, ends=ends)
            account.working_id = other
        account.is_proved = account.is_proved or is_bound
        return answer

    async def _other_that_works(self, request: Request, ends: float) -> str | None:
        """The account's other id, to which *request* is sent again; None if there is no use in that.

        What only reads is its own proof. For what writes, a list is asked for first under either id, so that it is
        sent twice only where the first id is none that the API answers to.
        """
        try:
            other = await self._other_id(ends)
            if other is None or request.method == "GET":
                return other
            for account_id in (self._account.id or "", other):
                probe = Request("companies.list", "GET", f"/v3/a/{account_id}/companies.json", (("per_page", "1"),))
                with contextlib.suppress(NotFound):
                    await self._sender.send(probe, account=account_id, ends=ends)
                    self._account.is_proved = True
                    return other if account_id == other else None
        except CallRailError:  # the 404 is what there is to say
            return None
        return None

    async def _other_id_if_told(self) -> str | None:
        with contextlib.suppress(CallRailError):  # the 404 is what there is to say
            return await self._other_id(self._sender.pace.monotonic() + self._deadline.total_seconds())
        return None

    async def _other_id(self, ends: float) -> str | None:
        """The account's other id, `ACC...` or the number; None if the key does not see the account."""
        account = self._account
        if account.other_id is None:
            left = timedelta(seconds=max(ends - self._sender.pace.monotonic(), 0.001))
            async for seen in self.accounts.list(fields=["numeric_id"], deadline=left):
                ids = (seen.id, str(seen.numeric_id) if seen.numeric_id else None)
                if account.id in ids:
                    account.other_id = ids[1] if account.id == ids[0] else ids[0]
        return account.other_id


@functools.cache
def resources() -> Mapping[str, type[Resource]]:
    """All resources by name, `calls` for example; each tells its `operations`."""
    return {name: _resource(name) for name in CallRail.__annotations__}


def declared_as(request: Request) -> Operation | None:
    """The operation that a raw request is; None if it is none of them."""
    for resource in resources().values():
        for operation in resource.operations.values():
            pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(operation.full_path))
            if operation.method == request.method and re.fullmatch(pattern, request.path):
                return operation
    return None


def _resource(name: str) -> type[Resource]:
    """The class that `CallRail` says the resource is of, from the module of the resource's name."""
    resource: type[Resource] = getattr(import_module(f"callrail.resources.{name}"), CallRail.__annotations__[name])
    return resource


@dataclass(slots=True)
class _Account:
    """An account's id as given, its other one, and which of them the API has answered to."""

    id: str | None
    other_id: str | None = None
    working_id: str | None = None
    is_proved: bool = False
