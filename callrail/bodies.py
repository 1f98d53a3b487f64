"""The objects inside what is sent: their keys and values as CallRail documents them.

A key or a value that is not among them is refused before anything is sent; `extra_params` sends the whole object
unchecked: `extra_params={"source": {...}}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Required

from pydantic import AfterValidator, ConfigDict, Field, with_config
from pydantic_core import PydanticCustomError

# That of typing is not enough for pydantic before Python 3.12; pydantic brings this package along.
from typing_extensions import TypedDict

_STRICT = ConfigDict(extra="forbid", coerce_numbers_to_str=True)


@with_config(_STRICT)
class CallFlow(TypedDict, total=False):
    """Where a tracker's calls go. ``advanced`` names a flow of the app by its ``uuid``; flows are not made here."""

    type: Required[Literal["basic", "advanced"]]
    recording_enabled: bool | None
    destination_number: str | None
    greeting_text: str | None
    greeting_recording_url: str | None
    uuid: str | None


@with_config(_STRICT)
class NumberWanted(TypedDict, total=False):
    """A number to be bought: of an area code, near another number, or a toll-free one."""

    area_code: str
    local: str
    toll_free: bool


Paid = Literal["paid", "organic"]


@with_config(_STRICT)
class Source(TypedDict, total=False):
    """What a tracker's calls are counted for.

    ``type`` with ``landing``, ``referrer``, ``search_engine`` and ``search_type`` is of a source tracker; ``google``,
    ``bing``, ``yahoo``, ``landing``, ``referrer`` and ``inverted`` are of a session tracker.
    """

    type: Literal[
        "all",
        "landing_url",
        "landing_params",
        "offline",
        "web_referrer",
        "direct",
        "search",
        "google_ad_extension",
        "mobile_ad_extension",
        "google_my_business",
        "facebook_all",
        "bing_all",
    ]
    landing: str | Sequence[str]
    referrer: str | Sequence[str]
    search_engine: Literal["google", "yahoo", "bing", "all"]
    search_type: Literal["paid", "organic", "all"]
    google: Sequence[Paid]
    bing: Sequence[Paid]
    yahoo: Sequence[Paid]
    inverted: bool


@with_config(_STRICT)
class TextAnswer(TypedDict, total=False):
    """What a tracker answers to texts: a text, or a message flow by its id, ``MFL...``."""

    type: Required[Literal["auto-reply", "advanced"]]
    message: str
    id: str


def _ten_digits(number: str) -> str:
    if not _MOST_DIGITS >= sum(map(str.isdigit, number)) >= _FEWEST_DIGITS:
        raise PydanticCustomError("dialled", "a number takes ten digits, or E.164")
    return number


_FEWEST_DIGITS, _MOST_DIGITS = 10, 15
# Ten digits or E.164: what is shorter, 911 for example, is no customer's.
Dialled = Annotated[str, AfterValidator(_ten_digits)]
TimeOfDay = Annotated[str, Field(pattern=r"^(([01]\d|2[0-3])[0-5]\d|2400)$")]


@with_config(_STRICT)
class FlowTime(TypedDict):
    """A time of the week, as HHMM; it ends on the day on which it begins."""

    day: Literal[
        "any_day",
        "weekdays",
        "weekends",
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
    ]
    start_time: TimeOfDay
    end_time: TimeOfDay


@with_config(_STRICT)
class FlowBranch(TypedDict, total=False):
    """Where a schedule leads at some times. None ends the flow."""

    times: Required[Sequence[FlowTime]]
    next_step_id: str | None


@with_config(_STRICT)
class FlowStep(TypedDict, total=False):
    """A step of a message flow.

    ``branches`` are of a ``schedule``, ``message`` (1,550 characters at most) and ``first_text`` of an
    ``sms_response``, ``tag_ids`` of a ``tag``, ``destination_number`` (E.164) of a ``forward_message``.
    """

    id: str
    type: Required[Literal["schedule", "sms_response", "no_response", "tag", "forward_message"]]
    initial_step: bool
    next_step_id: str | None
    branches: Sequence[FlowBranch]
    message: str
    first_text: bool
    tag_ids: Sequence[int | str]
    destination_number: str


@with_config(_STRICT)
class IntegrationConfig(TypedDict, total=False):
    """Addresses by event for an integration of type Webhooks; ``grab_cookies``, names, for one of type Custom."""

    pre_call_webhook: Sequence[str] | None
    answered_call_webhook: Sequence[str] | None
    post_call_webhook: Sequence[str] | None
    updated_call_webhook: Sequence[str] | None
    post_outbound_call_webhook: Sequence[str] | None
    updated_outbound_call_webhook: Sequence[str] | None
    sms_received_webhook: Sequence[str] | None
    sms_sent_webhook: Sequence[str] | None
    form_captured_webhook: Sequence[str] | None
    grab_cookies: Sequence[str]


@with_config(_STRICT)
class SummaryParts(TypedDict, total=False):
    """The parts of a summary e-mail, each on or off."""

    summary_statistics: bool
    top_sources: bool
    top_keywords: bool
    call_log: bool


@with_config(_STRICT)
class SummaryFilters(TypedDict, total=False):
    """Which calls a summary e-mail counts."""

    lead_status: Literal["Lead", "Not a Lead", "Not Scored", "All"]
