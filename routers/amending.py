"""One thing, one message: what later news does to the message that told it first.

The first message of a rule about a thing is a delivery like any other. Each later piece of news is a row of its own
that names the first, and is sent as an edit of it, in its thread, or new. News of which an unsent message can tell as
well gets a row too, `superseded`: so it has its reason, and the message its whole story.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, Connection, and_, bindparam, or_, select, union_all

from routers.leases import Delivery, Tried
from routers.messages import Amend
from routers.ordering import Pair
from routers.outbox import TOLD_WITH_FIRST, UNSENT, NewDelivery, end, insert_deliveries
from routers.rules.ruleset import Amending
from routers.schema import DeliveryState, deliveries, transitions, versions
from routers.transitions import Transition

TOLD_WITH_LATER = "told with later news of it, which came before this was sent"
TOLD_ELSEWHERE = (TOLD_WITH_FIRST, TOLD_WITH_LATER)


@dataclass(frozen=True, slots=True)
class Amendment:
    """Later news of a thing, where a rule that speaks once of it has spoken.

    Attributes:
        rules: The ids under which the rule may have sent the first message.
        first: The first message's delivery, where it is known.
    """

    news: NewDelivery
    rules: tuple[str, ...]
    how: Amending
    first: str | None = None


def amend(conn: Connection, amendments: Iterable[Amendment], *, now: datetime) -> set[Pair]:
    """Put later news into the outbox: as what amends the first message, or as part of one that is not sent yet.

    Returns the pairs of sink and order key in which some has to wait for an earlier one.
    """
    blocked: set[Pair] = set()
    for amendment in amendments:
        if amendment.how.mode is not Amend.SILENT:
            told = _told(conn, amendment)
            if told:
                blocked |= _amend(conn, amendment, told[0], told[1:], now)
    return blocked


_COLUMNS = (
    deliveries.c.id,
    deliveries.c.sink,
    deliveries.c.order_key,
    deliveries.c.state,
    deliveries.c.amends,
    deliveries.c.transition_id,
    deliveries.c.reason,
    deliveries.c.finished_at,
)


_firsts: BindParameter[Any] = bindparam("firsts", expanding=True)
# The first messages and what amends them. Not with OR: where bitmaps are left out (`find_by_index`), PostgreSQL reads
# all deliveries for it, and does so at each turn.
_of_firsts = union_all(
    select(deliveries.c.id).where(deliveries.c.id.in_(_firsts)),
    select(deliveries.c.id).where(deliveries.c.amends.in_(_firsts)),
)


def _told(conn: Connection, amendment: Amendment) -> Sequence[Any]:
    """The first message, then those that amend it; none if there is no first."""
    first = amendment.first
    if first is None:
        query = (
            select(deliveries.c.id)
            .join(transitions, transitions.c.id == deliveries.c.transition_id)
            .where(
                transitions.c.object_id == amendment.news.object_id,
                deliveries.c.rule.in_(amendment.rules),
                deliveries.c.send == amendment.news.send,
                deliveries.c.amends.is_(None),
            )
            .order_by(deliveries.c.id)
            .limit(1)
        )
        first = conn.execute(query).scalar()
    # Locked: what is about to be sent by then is sent without this news.
    chain = select(*_COLUMNS).where(deliveries.c.id.in_(_of_firsts)).with_for_update()
    chain = chain.order_by(deliveries.c.amends.is_not(None), deliveries.c.id)
    return conn.execute(chain, {"firsts": [first]}).all() if first else []


def _amend(conn: Connection, amendment: Amendment, first: Any, later: Sequence[Any], now: datetime) -> set[Pair]:
    if any(row.transition_id == amendment.news.transition_id for row in (first, *later)):
        return set()  # a correction has turned one to this very news, or has told of it already
    news = replace(amendment.news, amends=first.id, order_key=first.order_key, amend=amendment.how.mode)
    if not amendment.how.tells_all:
        return insert_deliveries(conn, [news], now=now)
    if first.state in UNSENT:
        return insert_deliveries(conn, [replace(news, told_by=TOLD_WITH_FIRST)], now=now)
    unsent = [row for row in later if row.state in UNSENT]
    sent = [row for row in later if row.state not in UNSENT and row.reason not in TOLD_ELSEWHERE]
    if amendment.how.most is not None and len(sent) >= amendment.how.most:
        return set()
    end(conn, unsent, DeliveryState.SUPERSEDED, TOLD_WITH_LATER, now)
    return insert_deliveries(conn, [replace(news, due_at=_not_before([first, *sent], amendment.how, now))], now=now)


def _not_before(sent: Iterable[Any], how: Amending, now: datetime) -> datetime:
    """When the next edit may be sent: that of a message which is being sent counts as made now."""
    last = max(row.finished_at or now for row in sent)
    return max(now, last + how.apart)


def tell_with_firsts(conn: Connection, tried: Iterable[Tried], *, now: datetime) -> None:
    """Let first messages that are to be tried again tell the news that came while they were being sent.

    It would else be let past them after a while, as a message of its own, and the first would follow with old news.
    """
    again = [item.delivery.id for item in tried if item.state is DeliveryState.PENDING and item.delivery.amend]
    if not again:
        return
    firsts = select(deliveries.c.id).where(
        deliveries.c.id.in_(again), deliveries.c.state == DeliveryState.PENDING.value
    )
    waiting = select(deliveries.c.id, deliveries.c.sink, deliveries.c.order_key).where(
        deliveries.c.amends.in_(firsts),
        deliveries.c.state.in_((DeliveryState.BLOCKED, DeliveryState.PENDING)),
        deliveries.c.attempts == 0,
    )
    if rows := conn.execute(waiting.with_for_update()).all():
        end(conn, rows, DeliveryState.SUPERSEDED, TOLD_WITH_FIRST, now)


# --- at sending ------------------------------------------------------------------------------------------------------

_MAY_BE_READ = (DeliveryState.SENDING, DeliveryState.DELIVERED, DeliveryState.UNCERTAIN)
_chain = (
    select(
        deliveries.c.id,
        deliveries.c.amends,
        deliveries.c.state,
        deliveries.c.remote_id,
        deliveries.c.finished_at,
        deliveries.c.template,
        deliveries.c.reason,
        transitions.c.name,
        transitions.c.occurred_at,
        transitions.c.details,
        versions.c.stage,
        versions.c.outcome,
        versions.c.fields,
    )
    .join(transitions, transitions.c.id == deliveries.c.transition_id)
    .join(
        versions,
        and_(versions.c.object_id == transitions.c.object_id, versions.c.version == transitions.c.version),
    )
    .where(
        deliveries.c.id.in_(_of_firsts),
        or_(
            deliveries.c.state.in_(_MAY_BE_READ),
            deliveries.c.reason.in_(TOLD_ELSEWHERE),
            deliveries.c.id.in_(bindparam("own", expanding=True)),
        ),
    )
    .order_by(transitions.c.id)
)


def with_stories(conn: Connection, claimed: Sequence[Delivery]) -> list[Delivery]:
    """*claimed* as they are to be sent: each with what was told of the same thing, and as the newest of its news."""
    told = [item for item in claimed if item.amend is not None]
    if not told:
        return list(claimed)
    firsts = {item.amends or item.id for item in told}
    chains: dict[str, list[Any]] = defaultdict(list)
    for row in conn.execute(_chain, {"firsts": sorted(firsts), "own": [item.id for item in told]}):
        chains[row.amends or row.id].append(row)
    return [_with_story(item, chains.get(item.amends or item.id, [])) if item in told else item for item in claimed]


def _with_story(delivery: Delivery, chain: Sequence[Any]) -> Delivery:
    chapters = [(row, _chapter(delivery, row)) for row in chain]
    own = next((chapter for row, chapter in chapters if row.id == delivery.id), delivery)
    here = [chapter for row, chapter in chapters if row.id == delivery.id or row.reason in TOLD_ELSEWHERE]
    newest = here[-1] if here else own
    sent = [row for row in chain if row.remote_id is not None]
    # An edit that found nothing to edit was sent new, and is then what later ones edit.
    latest = max(sent, key=lambda row: row.finished_at or delivery.occurred_at, default=None)
    first = next((row for row in sent if row.id == delivery.amends), None)
    holder = latest if delivery.amend is Amend.EDIT else first
    is_told = holder is not None or any(row.id == delivery.amends and row.state in _MAY_BE_READ for row in chain)
    return replace(
        newest,
        amends=delivery.amends if is_told else None,
        story=tuple(chapter for _, chapter in chapters if chapter is not newest),
        remote_id=holder.remote_id if holder is not None and delivery.amends is not None else None,
    )


def _chapter(delivery: Delivery, row: Any) -> Delivery:
    return replace(
        delivery,
        transition=Transition(row.name),
        occurred_at=row.occurred_at,
        stage=row.stage,
        outcome=row.outcome,
        fields=row.fields,
        details=row.details,
        template=row.template,
    )
