"""A HubSpot of our own: an account that keeps records as HubSpot does, and a server for it on a loopback socket.

The account is plain state and knows no HTTP. The API turns a request into an answer without a socket. The server reads
requests, records them, and lets a test decide which of them meet a fault.

Left out: the endpoint that tells a token's scopes (we know none for service keys; what a token may do shows by 401 and
403), the API's own delete and merge (people do that here), lists of owners and pipelines, and custom objects.
"""

from tests.fakes.hubspot.account import OWNER, TOKEN, Account, Clock, Record
from tests.fakes.hubspot.api import Api, Asked, read
from tests.fakes.hubspot.limits import Limits
from tests.fakes.hubspot.refusals import Answer, Told
from tests.fakes.hubspot.server import Exchange, FakeHubSpot, running_hubspot

__all__ = [
    "OWNER",
    "TOKEN",
    "Account",
    "Answer",
    "Api",
    "Asked",
    "Clock",
    "Exchange",
    "FakeHubSpot",
    "Limits",
    "Record",
    "Told",
    "read",
    "running_hubspot",
]
