"""A Salesforce of our own: an org that keeps records as Salesforce does, and a server for it on a loopback socket.

The org is plain state and knows no HTTP. The API turns a request into an answer without a socket. The server reads
requests, records them, and lets a test decide which of them meet a fault.

Left out: parameterizedSearch (a batch takes SOSL alone, by which the sink finds), composite graphs and trees, the bulk
and tooling APIs, accounts, and all of SOQL and SOSL that a sink does not write.
"""

from tests.fakes.salesforce.api import Api, Asked, read
from tests.fakes.salesforce.limits import Limits
from tests.fakes.salesforce.org import CLIENT_ID, CLIENT_SECRET, KEY, OWNER, USERNAME, Clock, Org, Record
from tests.fakes.salesforce.refusals import Answer, Told
from tests.fakes.salesforce.server import Exchange, FakeSalesforce, running_salesforce

__all__ = [
    "CLIENT_ID",
    "CLIENT_SECRET",
    "KEY",
    "OWNER",
    "USERNAME",
    "Answer",
    "Api",
    "Asked",
    "Clock",
    "Exchange",
    "FakeSalesforce",
    "Limits",
    "Org",
    "Record",
    "Told",
    "read",
    "running_salesforce",
]
