"""Numbers of calls: of a time, of groups, of intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from routers.fake_callrail.asking import Ask, Refused
from routers.fake_callrail.call_fields import formatted_duration
from routers.fake_callrail.times import Window, without_colon
from routers.fake_callrail.world import Call, Json

_MOST_POINTS = 200

_GROUPS: dict[str, Callable[[Call], object]] = {
    "source": lambda call: call.source,
    "keywords": lambda call: "drain cleaning" if call.medium == "cpc" else None,
    "campaign": lambda call: call.campaign,
    "referrer": lambda call: call.medium,
    "landing_page": lambda call: "https://www.example.com/",
    "last_requested_page": lambda call: "https://www.example.com/contact",
    "company": lambda call: call.tracker["company"]["name"],
    "company_id": lambda call: call.tracker["company"]["id"],
}


def summary(ask: Ask, calls: Sequence[Call], window: Window) -> Json:
    """Totals, and of each group where `group_by` is given."""
    calls, metrics = _narrowed(ask, calls), _metrics(ask)
    told = _frame(window) | {"total_results": _totals(calls, metrics)}
    group_by = ask.text("group_by")
    if group_by is None:
        return told
    if group_by not in _GROUPS:
        raise Refused(400, f"group_by must be: '{', '.join(_GROUPS)}'")
    groups: dict[object, list[Call]] = {}
    for call in calls:
        groups.setdefault(_GROUPS[group_by](call), []).append(call)
    largest_first = sorted(groups.items(), key=lambda group: -len(group[1]))
    return told | {
        "grouped_by": group_by,
        "grouped_results": [{"key": key, **_totals(members, metrics)} for key, members in largest_first],
    }


def timeseries(ask: Ask, calls: Sequence[Call], window: Window) -> Json:
    """Totals of each interval, 200 at most (observed)."""
    calls, metrics = _narrowed(ask, calls), _metrics(ask)
    interval = ask.text("interval") or "day"
    if interval not in ("hour", "day", "week", "month", "year"):
        raise Refused(400, "interval is invalid")
    starts = _starts(window, interval)
    if len(starts) > _MOST_POINTS:
        raise Refused(400, f"Please revise your date range or interval; at most {_MOST_POINTS} points are told.")
    members: list[list[Call]] = [[] for _ in starts]
    at = 0
    for call in calls:  # oldest first, as the starts are
        while at + 1 < len(starts) and starts[at + 1] <= call.start:
            at += 1
        members[at].append(call)
    return _frame(window) | {
        "total_results": _totals(calls, metrics),
        "data": [
            {
                "date": without_colon(start) if interval == "hour" else start.strftime("%Y-%m-%d"),
                **_totals(some, metrics),
            }
            for start, some in zip(starts, members, strict=True)
        ],
    }


def _starts(window: Window, interval: str) -> list[datetime]:
    starts: list[datetime] = []
    moment = window.start
    while moment <= window.end and len(starts) <= _MOST_POINTS:
        starts.append(moment)
        moment = _next(moment, interval)
    return starts


def _next(moment: datetime, interval: str) -> datetime:
    if interval == "month":
        return (moment.replace(day=1) + timedelta(days=32)).replace(day=1)
    if interval == "year":
        return moment.replace(year=moment.year + 1, month=1, day=1)
    return moment + {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}[interval]


def _narrowed(ask: Ask, calls: Sequence[Call]) -> Sequence[Call]:
    """By what only totals can be narrowed by."""
    least, most = ask.number("min_duration"), ask.number("max_duration")
    first = ask.text("first_time_callers") == "true"
    return [
        call
        for call in calls
        if (not least or (call.duration or 0) >= least)
        and (not most or (call.duration or 0) <= most)
        and (not first or call.is_first)
    ]


def _metrics(ask: Ask) -> list[str]:
    return [name for name in ask.many("fields") if name in _METRICS] or ["total_calls"]


def _average(calls: Sequence[Call]) -> int:
    return sum(call.duration or 0 for call in calls) // len(calls) if calls else 0


_METRICS: dict[str, Callable[[Sequence[Call]], object]] = {
    "total_calls": len,
    "missed_calls": lambda calls: sum(call.is_missed for call in calls),
    "answered_calls": lambda calls: sum(not call.is_missed for call in calls),
    "abandoned_calls": lambda calls: sum(not call.answered and (call.duration or 0) < 10 for call in calls),
    "first_time_callers": lambda calls: sum(call.is_first for call in calls),
    "average_duration": _average,
    "formatted_average_duration": lambda calls: formatted_duration(_average(calls)),
    "leads": lambda calls: sum(call.lead_status == "good_lead" for call in calls),
}


def _totals(calls: Sequence[Call], metrics: Sequence[str]) -> Json:
    return {name: _METRICS[name](calls) for name in metrics}


def _frame(window: Window) -> Json:
    return {
        "start_date": without_colon(window.start),
        "end_date": without_colon(window.end),
        "time_zone": window.zone.key,
    }
