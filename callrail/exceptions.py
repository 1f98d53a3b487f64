"""Everything this package raises on purpose."""

from __future__ import annotations

from datetime import datetime


class CallRailError(Exception):
    """Base of all errors of this package."""


class HttpError(CallRailError):
    """A request without a usable answer. The text never holds the URL, which may itself be a secret."""


class NotSent(HttpError):
    """The request did not leave: no address, no connection, no TLS. Sending again cannot repeat anything."""


class AddressRefused(NotSent):
    """The host resolves to an address we do not connect to unless the operator allows it."""


class ForeignHost(NotSent):
    """A file is said to lie where CallRail keeps none. The text names the host, never the link."""


class NoNetwork(NotSent):
    """Our own network is at fault: the name server does not answer, or there is no route. Nobody else is to blame."""


class AnswerLost(HttpError):
    """The request may have arrived, but no whole answer came back."""


class InvalidRequest(CallRailError, ValueError):
    """A request that is refused before it is sent: an unknown parameter, a wrong value, a list without a date."""


class AccountUnknown(CallRailError):
    """The client was given no account, and its key sees none or several."""


class BudgetSpent(CallRailError):
    """Nothing was sent: the account's allowance of requests is used up until *free_at*."""

    def __init__(self, what: str, free_at: datetime) -> None:
        super().__init__(f"the account's allowance of {what} is used up until {free_at:%Y-%m-%d %H:%M:%S %Z}")
        self.free_at = free_at


class PagingError(CallRailError):
    """A list that cannot be read on: its next page is elsewhere, or pages repeat themselves."""


class AnswerError(CallRailError):
    """CallRail answered, but not with what was asked for.

    *status* is HTTP's, *said* CallRail's own text (None when it gave none), *request_id* what its support asks for.
    """

    remedy = ""

    def __init__(self, request: str, status: int, said: str | None = None, request_id: str | None = None) -> None:
        parts = [f"{request}: CallRail answered {status}"]
        if said:
            parts.append(f": {said}")
        if self.remedy:
            parts.append(f"; {self.remedy}")
        if request_id:
            parts.append(f" (request id {request_id})")
        super().__init__("".join(parts))
        self.status = status
        self.said = said
        self.request_id = request_id


class Rejected(AnswerError):
    """400, 406 or 422: a parameter is wrong, or a rule of CallRail's is broken."""


class Unauthorized(AnswerError):
    """401: the API key is missing or wrong."""

    remedy = "the API key is wrong or was deleted; CallRail shows keys under Integrations > API keys"


class Forbidden(AnswerError):
    """403: the key's user has not the right, or the key itself may not write (observed)."""

    remedy = "the key's user lacks this right, or the key is read-only (a switch on the key in CallRail)"


class NotFound(AnswerError):
    """404: no such object in this account, or none that this key sees."""

    remedy = "there is no such object in this account, or the key does not see it"


class RateLimited(AnswerError):
    """429, and waiting for it to clear would have taken longer than the deadline."""

    remedy = "the account's limit of requests is reached, by us or another integration; try again later"


class ServerFault(AnswerError):
    """5xx: CallRail's side is at fault."""

    remedy = "CallRail's side is at fault; status.callrail.com tells of trouble"


class UnexpectedAnswer(AnswerError):
    """A success that cannot be understood: no JSON, cut off, too long, or a redirect to where we do not follow."""


class TooLong(UnexpectedAnswer):
    """What was to be saved is longer than was allowed. Nothing of it is kept."""


class NoFile(UnexpectedAnswer):
    """Where a file should be, CallRail tells of none, or of none yet: it prepares recordings for some minutes."""
