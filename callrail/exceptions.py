"""Everything this package raises on purpose."""

from __future__ import annotations


class CallRailError(Exception):
    """Base of all errors of this package."""


class HttpError(CallRailError):
    """A request without a usable answer. The text never holds the URL, which may itself be a secret."""


class NotSent(HttpError):
    """The request did not leave: no address, no connection, no TLS. Sending again cannot repeat anything."""


class AddressRefused(NotSent):
    """The host resolves to an address we do not connect to unless the operator allows it."""


class NoNetwork(NotSent):
    """Our own network is at fault: the name server does not answer, or there is no route. Nobody else is to blame."""


class AnswerLost(HttpError):
    """The request may have arrived, but no whole answer came back."""
