"""A GoHighLevel of our own: a location that keeps contacts and notes as GoHighLevel does, behind a loopback socket.

Left out: conversations, tasks, opportunities, and whatever else a sink does not touch.
"""

from tests.fakes.gohighlevel.api import Api, Asked
from tests.fakes.gohighlevel.location import LOCATION, TOKEN, Contact, Location, Note
from tests.fakes.gohighlevel.server import Exchange, FakeGoHighLevel, running_gohighlevel

__all__ = [
    "LOCATION",
    "TOKEN",
    "Api",
    "Asked",
    "Contact",
    "Exchange",
    "FakeGoHighLevel",
    "Location",
    "Note",
    "running_gohighlevel",
]
