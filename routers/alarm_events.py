"""An alarm as an event: what we tell of ourselves goes the way of all that CallRail tells.

It is known by its origin alone, which nothing that is posted can have. What it is about is one occurrence of a trouble,
from the alarm to its end, so that a rule which speaks once speaks of each, and its end amends what was said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection

from receiver.events import insert_events
from receiver.ids import Prefix, new_id
from receiver.schema import EventState, Origin
from routers.lifecycle import Happened, Object, Stage
from routers.transitions import INSTALLATION, OF_THE_INSTALLATION, Transition

KIND = "alarm"
SINK, ROUTING, HOST, SOURCE, ACCOUNT = "sink", "routing", "host", "source", "account"
TYPES = (SINK, ROUTING, HOST, SOURCE, ACCOUNT)


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something to tell of ourselves.

    Attributes:
        trouble: The trouble that *name* is or ends.
        type: What the subject is: sink, routing, host, source, account.
        subject: The sink's, the host's or the company's name, or the account's id at CallRail.
        n: Which occurrence of the trouble, from 1.
        facts: What rules and templates see.
    """

    name: Transition
    trouble: Transition
    type: str
    subject: str
    n: int
    facts: Mapping[str, Any]

    @property
    def company(self) -> str:
        """Whose it is; of the installation where it is no company's."""
        return INSTALLATION if self.name in OF_THE_INSTALLATION else self.subject

    @property
    def object_id(self) -> str:
        """The occurrence, like `crm:sink_down:2`."""
        return f"{self.subject}:{self.trouble.partition('.')[2]}:{self.n}"


def insert_alarm(conn: Connection, alarm: Alarm, *, now: datetime) -> None:
    """Put *alarm* where it is routed like any event."""
    told = {
        "name": alarm.name.value,
        "trouble": alarm.trouble.value,
        "type": alarm.type,
        "subject": alarm.subject,
        "n": alarm.n,
        "facts": alarm.facts,
    }
    body = orjson.dumps(told)
    sha256 = hashlib.sha256(body).digest()
    head = (new_id(Prefix.EVENT), now, alarm.company, KIND, Origin.ROUTER, EventState.RECEIVED)
    insert_events(conn, [(*head, "application/json", {}, body, sha256, None)])


def read_alarm(body: bytes) -> Alarm:
    """The alarm that *body*, of our own making, tells."""
    told = orjson.loads(body)
    name, trouble = Transition(told["name"]), Transition(told["trouble"])
    return Alarm(name, trouble, told["type"], told["subject"], told["n"], told["facts"])


def apply_alarm(obj: Object, alarm: Alarm) -> tuple[Object, list[Happened]]:
    """The occurrence *obj* after *alarm*, and what happened."""
    after = obj._replace(
        stage=Stage.COMPLETE, version=obj.version + 1, fields=dict(alarm.facts), told=obj.told | {alarm.name}
    )
    return after, [Happened(alarm.name, n=alarm.n)]
