"""An invented world for the simulator: who calls, where they found the number, what is said and how it ends.

Everything is drawn from the `random.Random` given, so one seed always invents the same. Phone numbers are of the
range 555-0100 to 555-0199, which is kept free for fiction, and addresses of example.com.
"""

from __future__ import annotations

import string
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    import random


@dataclass(frozen=True)
class Company:
    """The company that is called, as its webhooks name it."""

    resource_id: str
    name: str


@dataclass(frozen=True)
class Source:
    """Where somebody found the number. `""` is unknown; without a *landing_page* no web site was visited."""

    name: str
    tracker_name: str
    legacy_name: str
    medium: str = ""
    campaign: str = ""
    utm_source: str = ""
    keywords: str = ""
    referrer_domain: str = ""
    landing_page: str = ""

    @property
    def referring_url(self) -> str:
        return f"https://www.{self.referrer_domain}/" if self.referrer_domain else ""

    @property
    def utm(self) -> dict[str, str]:
        """The campaign parameters of the landing page, by name; empty without a campaign."""
        if not self.campaign:
            return {}
        return {"utm_source": self.utm_source, "utm_medium": self.medium, "utm_campaign": self.campaign}


@dataclass(frozen=True)
class Person:
    """Somebody who calls, writes or fills in a form. *caller_id* is what the telephone network says of them."""

    resource_id: str
    name: str
    caller_id: str
    city: str
    state: str
    phone_number: str
    prior_calls: int


@dataclass(frozen=True)
class Talk:
    """What was said on a recorded call, as (speaker, phrase), and what CallRail and people make of it."""

    lines: tuple[tuple[str, str], ...]
    keyword: str
    summary: str
    sentiment: str
    lead_score: str
    lead_explanation: str
    tag: str
    note: str


@dataclass(frozen=True)
class Call:
    """All that is known of a call while it rings."""

    resource_id: str
    company: Company
    tracker_resource_id: str
    tracking_number: str
    business_number: str
    person: Person
    source: Source
    visited_at: datetime
    started_at: datetime
    created_at: datetime
    session_uuid: str
    click_id: str
    access_key: str


@dataclass(frozen=True)
class Ending:
    """How a call ended. *talk* is None, and *recorded* zero, if there is no recording."""

    call_type: str
    duration: timedelta
    is_routed: bool = True
    recorded: timedelta = timedelta(0)
    talk: Talk | None = None
    agent_email: str = ""


@dataclass(frozen=True)
class Thread:
    """A conversation by text message between *person* and one tracking number."""

    resource_id: str
    conversation_id: str
    company: Company
    person: Person
    tracking_number: str


def invent_id(rng: random.Random, prefix: str) -> str:
    """An id as CallRail makes them: *prefix* and 32 hex digits, of which newer ids begin with 019 (observed)."""
    return f"{prefix}019{rng.getrandbits(116):029x}"


def invent_span(rng: random.Random, shortest: float, longest: float) -> timedelta:
    """A time from *shortest* to *longest* seconds, in whole milliseconds."""
    return timedelta(milliseconds=rng.randint(round(shortest * 1000), round(longest * 1000)))


def invent_person(rng: random.Random) -> Person:
    """Somebody from the south-east of the USA, in one case of five with a place for a caller ID."""
    name = f"{rng.choice(_FIRST_NAMES)} {rng.choice(_LAST_NAMES)}"
    city, state, area = rng.choice(_PLACES)
    return Person(
        resource_id=invent_id(rng, "PER"),
        name=name,
        caller_id=(f"{city} {state}" if rng.random() < 0.2 else name).upper(),
        city=city,
        state=state,
        phone_number=_phone_number(rng, area),
        prior_calls=rng.choice((0, 0, 0, 1, 2, 5)),
    )


def invent_source(rng: random.Random, *, online: bool = False) -> Source:
    """A marketing source; with *online* one that led through the web site."""
    return rng.choice([source for source in _SOURCES if source.landing_page or not online])


def invent_call(rng: random.Random, *, company: Company, started_at: datetime) -> Call:
    """A call that begins to ring at *started_at*."""
    return Call(
        resource_id=invent_id(rng, "CAL"),
        company=company,
        tracker_resource_id=invent_id(rng, "TRK"),
        tracking_number=_phone_number(rng, rng.choice(_TRACKING_AREAS)),
        business_number=_BUSINESS_NUMBER,
        person=invent_person(rng),
        source=invent_source(rng),
        visited_at=started_at - invent_span(rng, 60, 250_000),
        started_at=started_at,
        created_at=started_at + invent_span(rng, 0.01, 0.09),
        session_uuid=str(UUID(int=rng.getrandbits(128), version=4)),
        click_id=f"SIMULATED{rng.getrandbits(64):016x}",
        access_key=f"{rng.getrandbits(80):020x}",
    )


def invent_answered(rng: random.Random) -> Ending:
    """Somebody picked up and talked; the ringing before is not recorded."""
    duration, rang = _whole_seconds(rng, 45, 420), _whole_seconds(rng, 5, 15)
    return Ending(
        "answered", duration, recorded=duration - rang, talk=rng.choice(_TALKS), agent_email=rng.choice(_AGENTS)[1]
    )


def invent_missed(rng: random.Random) -> Ending:
    """It rang at the business, and nobody picked up."""
    return Ending("missed", _whole_seconds(rng, 20, 45))


def invent_voicemail(rng: random.Random) -> Ending:
    """Nobody picked up, and the caller spoke after the greeting."""
    recorded, before = _whole_seconds(rng, 15, 60), _whole_seconds(rng, 20, 30)
    return Ending("voicemail", before + recorded, recorded=recorded, talk=rng.choice(_VOICEMAILS))


def invent_abandoned(rng: random.Random) -> Ending:
    """The caller hung up before the call was routed anywhere."""
    return Ending("abandoned", _whole_seconds(rng, 4, 12), is_routed=False)


def invent_reached(rng: random.Random) -> Ending:
    """The company called, and the customer picked up."""
    duration, rang = _whole_seconds(rng, 30, 240), _whole_seconds(rng, 5, 15)
    talk, agent_email = rng.choice(_CALL_BACKS), rng.choice(_AGENTS)[1]
    return Ending("answered", duration, recorded=duration - rang, talk=talk, agent_email=agent_email)


def invent_unreached(rng: random.Random) -> Ending:
    """The company called, and the customer did not pick up."""
    return Ending("missed", _whole_seconds(rng, 15, 40), agent_email=rng.choice(_AGENTS)[1])


def invent_thread(rng: random.Random, *, company: Company) -> Thread:
    """A conversation that nobody has written in yet."""
    return Thread(
        resource_id=invent_id(rng, "SMT"),
        conversation_id="".join(rng.choices(string.ascii_lowercase + string.digits, k=5)),
        company=company,
        person=invent_person(rng),
        tracking_number=_phone_number(rng, rng.choice(_TRACKING_AREAS)),
    )


def invent_question(rng: random.Random) -> str:
    """What a customer writes, by text or in a form."""
    return rng.choice(_QUESTIONS)


def invent_reply(rng: random.Random) -> tuple[str, str]:
    """The name of somebody in the office, and what they write back."""
    return rng.choice(_AGENTS)[0], rng.choice(_REPLIES)


def invent_dialogue(rng: random.Random) -> tuple[tuple[str, str], ...]:
    """A conversation by text, as (speaker, text); the customer begins, then they take turns."""
    agent = rng.choice(_AGENTS)[0]
    return tuple((agent if position % 2 else "", text) for position, text in enumerate(rng.choice(_DIALOGUES)))


def invent_opt_out(rng: random.Random) -> str:
    """A word with which a customer ends a conversation for good, as carriers understand it."""
    return rng.choice(("STOP", "Stop", "stop", "UNSUBSCRIBE"))


def invent_caption(rng: random.Random) -> str:
    """What a customer writes below a picture."""
    return rng.choice(("This is the leak under the sink", "Does this part fit?", "Here is the boiler & its label"))


def invent_advice(rng: random.Random, talk: Talk) -> tuple[tuple[str, str], ...]:
    """What CallRail advises after a call, by the names it gives to it (documented)."""
    return (
        (
            "Action plan",
            f"1. {talk.note}\n2. {rng.choice(('Call again tomorrow', 'Send a reminder on the day before'))}",
        ),
        ("Smart follow-up", rng.choice(_REPLIES)),
        ("Coaching", "Positive:\n 1. Asked what is needed\nNegative:\n 1. Did not ask for the address"),
    )


def invent_tag(rng: random.Random) -> str:
    """What people of the company sort a call under."""
    return rng.choice(("Emergency", "Quote", "Existing customer"))


def invent_value(rng: random.Random) -> int:
    """What a lead is worth, in whole dollars."""
    return rng.choice((150, 350, 800, 2400))


def withhold_number(rng: random.Random, person: Person) -> Person:
    """*person* calling without showing a number: nothing, a word or a filler code stands in its place."""
    number, caller_id = rng.choice(
        (("", ""), ("", "ANONYMOUS"), ("+266696687", "ANONYMOUS"), ("anonymous", "RESTRICTED"))
    )
    return replace(person, phone_number=number, caller_id=caller_id, city="", state="")


def _phone_number(rng: random.Random, area: str) -> str:
    return f"+1{area}55501{rng.randrange(100):02}"


def _whole_seconds(rng: random.Random, shortest: int, longest: int) -> timedelta:
    return timedelta(seconds=rng.randint(shortest, longest))


_FIRST_NAMES = ("Avery", "Casey", "Devon", "Ellis", "Frankie", "Harper", "Jesse", "Morgan", "Quinn", "Reese", "Sidney")
_LAST_NAMES = ("Ashdown", "Birchwood", "Calloway", "Dunmore", "Fairbank", "Hollister", "Larkspur", "Northcott", "Quill")
_PLACES = (
    ("Atlanta", "GA", "404"),
    ("Savannah", "GA", "912"),
    ("Charlotte", "NC", "704"),
    ("Raleigh", "NC", "919"),
    ("Nashville", "TN", "615"),
    ("Tampa", "FL", "813"),
)
_TRACKING_AREAS = ("470", "770")
_BUSINESS_NUMBER = "+16785550190"
_AGENTS = (("Robin Desk", "robin@example.com"), ("Sam Counter", "sam@example.com"))

_SOURCES = (
    Source(
        name="Google Ads",
        tracker_name="Website Pool",
        legacy_name="google_paid",
        medium="cpc",
        campaign="emergency_repairs",
        utm_source="google",
        keywords="burst pipe repair",
        referrer_domain="google.com",
        landing_page="https://www.example.com/emergency"
        "?utm_source=google&utm_medium=cpc&utm_campaign=emergency_repairs",
    ),
    Source(
        name="Bing Ads",
        tracker_name="Website Pool",
        legacy_name="bing_paid",
        medium="cpc",
        campaign="water_heaters",
        utm_source="bing",
        keywords="new water heater",
        referrer_domain="bing.com",
        landing_page="https://www.example.com/heaters?utm_source=bing&utm_medium=cpc&utm_campaign=water_heaters",
    ),
    Source(
        name="Google Organic",
        tracker_name="Website Pool",
        legacy_name="google_organic",
        medium="organic",
        referrer_domain="google.com",
        landing_page="https://www.example.com/",
    ),
    Source(
        name="Direct",
        tracker_name="Website Pool",
        legacy_name="direct",
        medium="direct",
        landing_page="https://www.example.com/contact",
    ),
    Source(name="Yelp", tracker_name="Yelp Listing", legacy_name="yelp"),
    Source(name="Google My Business", tracker_name="Map Listing", legacy_name="google_my_business"),
)

_TALKS = (
    Talk(
        lines=(
            ("agent", "Good morning, how can I help?"),
            ("caller", "A pipe burst under our sink and there is water all over the floor."),
            ("agent", "Please close the main valve. Somebody can be with you within the hour."),
            ("caller", "Thank you, that is a relief. The house is at the corner, number twelve."),
        ),
        keyword="burst",
        summary="The caller has a burst pipe under the sink. A visit within the hour was agreed.",
        sentiment="positive",
        lead_score="very good",
        lead_explanation="An urgent job with an agreed visit.",
        tag="Emergency",
        note="On the way, main valve is closed.",
    ),
    Talk(
        lines=(
            ("agent", "Hello, what can we do for you?"),
            ("caller", "Hi, what would a new water heater for a family of four cost?"),
            ("agent", "Mostly between two and three thousand, fitted. Shall I send a written quote?"),
            ("caller", "Yes please, I will compare it with another one."),
        ),
        keyword="water heater",
        summary="The caller asked for the price of a water heater and wants a written quote.",
        sentiment="neutral",
        lead_score="good",
        lead_explanation="The caller asked for a quote but compares offers.",
        tag="Quote",
        note="Send the quote for 50 gallons & installation.",
    ),
    Talk(
        lines=(
            ("agent", "Good afternoon, what can I do for you?"),
            ("caller", "Your invoice has the visit on it twice, I only had one."),
            ("agent", "I am sorry about that. I will send you a corrected one today."),
        ),
        keyword="invoice",
        summary="The caller was billed twice for one visit; a corrected invoice was promised.",
        sentiment="negative",
        lead_score="poor",
        lead_explanation="A customer with a complaint, no new work.",
        tag="Billing",
        note="Corrected invoice promised for today.",
    ),
)

_VOICEMAILS = (
    Talk(
        lines=(
            ("caller", "Hello, our toilet keeps running and I cannot make it stop."),
            ("caller", "Please call me back this afternoon, I am at home until five."),
        ),
        keyword="toilet",
        summary="The caller reports a running toilet and asks to be called back before five.",
        sentiment="neutral",
        lead_score="good",
        lead_explanation="The caller asks for a repair.",
        tag="Call back",
        note="Called back.",
    ),
    Talk(
        lines=(
            ("caller", "Hi, I would like to know whether you also work in the next county."),
            ("caller", "It is about a bathroom for two floors. Thanks, bye."),
        ),
        keyword="bathroom",
        summary="The caller asks whether a bathroom job outside the area is possible.",
        sentiment="positive",
        lead_score="good",
        lead_explanation="A larger job, if the area fits.",
        tag="Call back",
        note="Called back.",
    ),
)

_CALL_BACKS = (
    Talk(
        lines=(
            ("caller", "Hello?"),
            ("agent", "Good afternoon, you asked us to call you back about a leaking tap."),
            ("caller", "Yes, it drips all night. Could you look at it this week?"),
            ("agent", "Thursday at two is free. I will put you down for that."),
        ),
        keyword="leaking tap",
        summary="The customer was called back about a leaking tap. A visit on Thursday at two was agreed.",
        sentiment="positive",
        lead_score="very good",
        lead_explanation="A visit was agreed.",
        tag="Call back",
        note="Visit on Thursday at two.",
    ),
    Talk(
        lines=(
            ("caller", "Yes, hello."),
            ("agent", "I am calling about the quote we sent you for a water heater."),
            ("caller", "Thanks, but we decided for somebody else."),
        ),
        keyword="quote",
        summary="The customer was asked about a quote and has decided for another company.",
        sentiment="neutral",
        lead_score="poor",
        lead_explanation="The customer decided for somebody else.",
        tag="Quote",
        note="Lost to another company & closed.",
    ),
)

_QUESTIONS = (
    "Water is dripping from the ceiling. Can somebody come today?",
    "Is a new water heater < $2,500, fitting & taxes included?",
    "Hi, this is about the café on Main Street: our dishwasher backs up into the sink 😬",
    "Do you give a discount for seniors?",
    "My piñata-coloured bathroom needs new taps. When are you free?",
)
_REPLIES = (
    "Thanks for your message! Would tomorrow between 8 & 10 suit you?",
    "We can be there in about an hour. What is the address?",
    "Happy to help. I will call you in a few minutes.",
)
_DIALOGUES = (
    (
        "Hi, do you also repair garbage disposals?",
        "Yes we do. What does yours do, or not do?",
        "It hums but does not turn 😬",
        "Please leave it off. Would Thursday between 1 & 3 suit you?",
        "Thursday is perfect, thank you!",
    ),
    (
        "Is the quote from last week still good?",
        "It is good until the end of the month.",
        "Then we take it. When can you start?",
        "On Monday at eight. I will send you a confirmation.",
    ),
)
