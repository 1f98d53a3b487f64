"""What the simulator can play, by name: everyday life cycles of calls, texts and forms, and the trouble there is.

A scenario is data: a sentence, a function that tells its story as webhooks, how they are written, and who signs them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from operator import attrgetter

from callrail.kinds import Kind
from routers import simulated_facts as facts
from routers import simulated_messages as messages
from routers import simulated_payloads as payloads
from routers.simulated_wire import Body, to_form, to_wire


@dataclass(frozen=True)
class Scene:
    """Whom a story happens to, and when it begins; whatever it invents comes from *rng*."""

    rng: random.Random
    company: facts.Company
    started_at: datetime

    def span(self, shortest: float, longest: float) -> timedelta:
        """A time from *shortest* to *longest* seconds."""
        return facts.invent_span(self.rng, shortest, longest)


@dataclass(frozen=True)
class Webhook:
    """One webhook of a story, not yet written. *after* counts from the story's start."""

    kind: Kind
    after: timedelta
    body: Body


class Writing(Enum):
    """How a body is written: the value is its content type."""

    JSON = "application/json"
    FORM = "application/x-www-form-urlencoded"


class Signer(Enum):
    """Who signs a webhook: CallRail with the company's key, somebody with another, or nobody."""

    COMPANY = "company"
    SOMEBODY_ELSE = "somebody else"
    NOBODY = "nobody"


Story = Callable[[Scene], Sequence[Webhook]]


@dataclass(frozen=True)
class Scenario:
    """Something to play. The *sentence* is for people; webhooks go out in the order of their `after`."""

    name: str
    sentence: str
    story: Story
    writing: Writing = Writing.JSON
    signer: Signer = Signer.COMPANY


@dataclass(frozen=True)
class Posting:
    """One webhook as it is posted. *kind* is the last segment of its path, *after* counts from the story's start."""

    kind: str
    after: timedelta
    body: bytes
    content_type: str = Writing.JSON.value
    signer: Signer = Signer.COMPANY


def postings(scenario: Scenario, scene: Scene) -> list[Posting]:
    """The webhooks of *scenario*, earliest first, in their very bytes."""
    write = to_form if scenario.writing is Writing.FORM else to_wire
    return [
        Posting(webhook.kind.value, webhook.after, write(webhook.body), scenario.writing.value, scenario.signer)
        for webhook in sorted(scenario.story(scene), key=attrgetter("after"))
    ]


# --- calls -----------------------------------------------------------------------------------------------------------

InventEnding = Callable[[random.Random], facts.Ending]


@dataclass(frozen=True)
class _Told:
    """A call that has been told of whole."""

    call: facts.Call
    ending: facts.Ending
    webhooks: tuple[Webhook, ...]

    @property
    def last(self) -> Webhook:
        return self.webhooks[-1]


def _tell_call(scene: Scene, ending: facts.Ending, call: facts.Call | None = None) -> _Told:
    call = call or facts.invent_call(scene.rng, company=scene.company, started_at=scene.started_at)
    # CallRail waits for recording and transcript before it posts an ended call (documented).
    ended = ending.duration + (scene.span(60, 180) if ending.talk else scene.span(3, 20))
    webhooks = [Webhook(Kind.PRE_CALL, scene.span(0.2, 0.9), payloads.ringing_call(call))]
    if ending.is_routed:
        webhooks.append(Webhook(Kind.CALL_ROUTING_COMPLETE, scene.span(2, 4), payloads.routed_call(call)))
    webhooks.append(Webhook(Kind.POST_CALL, ended, payloads.ended_call(call, ending)))
    return _Told(call, ending, tuple(webhooks))


def _call(invent: InventEnding) -> Story:
    return lambda scene: _tell_call(scene, invent(scene.rng)).webhooks


def _changes(scene: Scene, told: Webhook, *bodies: Body, kind: Kind = Kind.CALL_MODIFIED) -> Iterator[Webhook]:
    """Webhooks about changes, the first a while after *told* and each a while after the one before."""
    after = told.after
    for body in bodies:
        after += scene.span(60, 600)
        yield Webhook(kind, after, body)


def _answered(scene: Scene) -> Sequence[Webhook]:
    told = _tell_call(scene, facts.invent_answered(scene.rng))
    talk = told.ending.talk
    if talk is None or scene.rng.random() >= 0.5:
        return told.webhooks
    noted = payloads.changed_call(told.last.body, {"tags": [talk.tag], "note": talk.note})
    return [*told.webhooks, *_changes(scene, told.last, noted)]


def _tag_on_off_on(scene: Scene) -> Sequence[Webhook]:
    told = _tell_call(scene, facts.invent_answered(scene.rng))
    tag = facts.invent_tag(scene.rng)
    on, off = (payloads.changed_call(told.last.body, {"tags": tags}) for tags in ([tag], []))
    return [*told.webhooks, *_changes(scene, told.last, on, off, on)]


def _marked_spam(scene: Scene) -> Sequence[Webhook]:
    told = _tell_call(scene, facts.invent_missed(scene.rng))
    return [*told.webhooks, *_changes(scene, told.last, payloads.changed_call(told.last.body, {"spam": True}))]


def _score_later(scene: Scene) -> Sequence[Webhook]:
    told = _tell_call(scene, facts.invent_answered(scene.rng))
    *before, ended = told.webhooks
    marked_at = scene.started_at + ended.after + timedelta(minutes=25)
    good = payloads.good_lead(told.call, value=facts.invent_value(scene.rng), at=marked_at)
    by_machine = payloads.changed_call(ended.body, {}, names=["auto_score"])
    by_hand = payloads.changed_call(ended.body, good, names=["manual_score", "value"])
    unscored = replace(ended, body=payloads.unscored(ended.body))
    return [*before, unscored, *_changes(scene, ended, by_machine, by_hand)]


def _missing_recording(scene: Scene) -> Sequence[Webhook]:
    """CallRail gives up waiting 20 minutes after hang-up, and tells of the recording once it is there (documented)."""
    told = _tell_call(scene, facts.invent_answered(scene.rng))
    *before, complete = told.webhooks
    bare = replace(told.ending, talk=None, recorded=timedelta(0))
    given_up = Webhook(
        complete.kind, told.ending.duration + timedelta(minutes=20), payloads.ended_call(told.call, bare)
    )
    found = payloads.changed_call(complete.body, {}, names=["recording_duration", "transcription_text", "call_summary"])
    return [*before, given_up, *_changes(scene, given_up, found)]


def _held_back(scene: Scene) -> Sequence[Webhook]:
    """CallRail may hold a post-call back for up to twenty minutes (documented)."""
    *before, last = _tell_call(scene, facts.invent_missed(scene.rng)).webhooks
    return [*before, replace(last, after=last.after + scene.span(240, 300))]


def _late_voicemail(scene: Scene) -> Sequence[Webhook]:
    """The call is told as missed; that the caller spoke to the machine is told when it is written down (assumed)."""
    told = _tell_call(scene, facts.invent_voicemail(scene.rng))
    *before, complete = told.webhooks
    bare = replace(told.ending, call_type="missed", talk=None, recorded=timedelta(0))
    missed = replace(
        complete, after=told.ending.duration + scene.span(3, 20), body=payloads.ended_call(told.call, bare)
    )
    names = ["recording_duration", "transcription_text", "call_summary"]
    found = replace(complete, kind=Kind.CALL_MODIFIED, body=payloads.changed_call(complete.body, {}, names=names))
    return [*before, missed, found]


def _late_post_call(scene: Scene) -> Sequence[Webhook]:
    *before, ended = _tell_call(scene, facts.invent_missed(scene.rng)).webhooks
    return [*before, replace(ended, after=ended.after + scene.span(2 * 3600, 4 * 3600))]


def _out_of_order(scene: Scene) -> Sequence[Webhook]:
    webhooks = _tell_call(scene, facts.invent_missed(scene.rng)).webhooks
    times = [webhook.after for webhook in webhooks]
    return [replace(webhook, after=after) for webhook, after in zip(webhooks, reversed(times), strict=True)]


def _duplicated(scene: Scene) -> Sequence[Webhook]:
    webhooks = _tell_call(scene, facts.invent_missed(scene.rng)).webhooks
    return [replace(webhook, after=webhook.after + later) for webhook in webhooks for later in (timedelta(0), _AGAIN)]


_AGAIN = timedelta(seconds=0.5)


def _repeat_caller(scene: Scene) -> Sequence[Webhook]:
    first = _tell_call(scene, facts.invent_missed(scene.rng))
    later = first.last.after + scene.span(60, 900)
    scene_later = replace(scene, started_at=scene.started_at + later)
    call = facts.invent_call(scene.rng, company=scene.company, started_at=scene_later.started_at)
    again = replace(
        call,
        person=replace(first.call.person, prior_calls=first.call.person.prior_calls + 1),
        source=first.call.source,
        tracker_resource_id=first.call.tracker_resource_id,
        tracking_number=first.call.tracking_number,
    )
    second = _tell_call(scene_later, facts.invent_answered(scene.rng), again)
    return [*first.webhooks, *(replace(webhook, after=webhook.after + later) for webhook in second.webhooks)]


def _withheld_number(scene: Scene) -> Sequence[Webhook]:
    call = facts.invent_call(scene.rng, company=scene.company, started_at=scene.started_at)
    call = replace(call, person=facts.withhold_number(scene.rng, call.person))
    return _tell_call(scene, facts.invent_missed(scene.rng), call).webhooks


def _legacy_names(scene: Scene) -> Sequence[Webhook]:
    told = _tell_call(scene, facts.invent_answered(scene.rng))
    first, last = told.webhooks[0], told.last
    return [
        replace(first, body=payloads.legacy_call(told.call, None)),
        replace(last, body=payloads.legacy_call(told.call, told.ending)),
    ]


def _outbound(scene: Scene) -> Sequence[Webhook]:
    talk, (ended,) = _tell_outbound(scene, facts.invent_reached(scene.rng))
    noted = payloads.changed_call(ended.body, {"note": talk.note if talk else ""})
    return [ended, *_changes(scene, ended, noted, kind=Kind.OUTBOUND_CALL_MODIFIED)]


def _outbound_missed(scene: Scene) -> Sequence[Webhook]:
    return _tell_outbound(scene, facts.invent_unreached(scene.rng))[1]


def _tell_outbound(scene: Scene, ending: facts.Ending) -> tuple[facts.Talk | None, list[Webhook]]:
    call = facts.invent_call(scene.rng, company=scene.company, started_at=scene.started_at)
    ended = ending.duration + (scene.span(60, 180) if ending.talk else scene.span(3, 20))
    return ending.talk, [Webhook(Kind.OUTBOUND_POST_CALL, ended, payloads.outbound_call(call, ending))]


# --- assistants ------------------------------------------------------------------------------------------------------


def _voice_assist(scene: Scene) -> Sequence[Webhook]:
    told = _tell_call(scene, facts.invent_answered(scene.rng))
    *before, ended = told.webhooks
    picked_up = scene.span(4, 6)
    answered = messages.assistant_answered(told.call, at=scene.started_at + picked_up)
    message = payloads.voice_message(told.call, facts.invent_question(scene.rng))
    return [
        *before,
        Webhook(Kind.VOICE_ASSIST, picked_up + _delay(scene), answered),
        replace(ended, body={**ended.body, **message}),
    ]


def _convert_assist(scene: Scene) -> Sequence[Webhook]:
    told = _tell_call(scene, facts.invent_answered(scene.rng))
    if told.ending.talk is None:
        return told.webhooks
    after = told.last.after + scene.span(30, 120)
    advice = messages.advice(told.call, facts.invent_advice(scene.rng, told.ending.talk), at=scene.started_at + after)
    return [*told.webhooks, Webhook(Kind.CONVERT_ASSIST, after + _delay(scene), advice)]


# --- texts and forms -------------------------------------------------------------------------------------------------


def _delay(scene: Scene) -> timedelta:
    return scene.span(0.5, 3)


def _received(scene: Scene, thread: facts.Thread, content: str, *, after: timedelta, pictures: int = 0) -> Webhook:
    body = messages.received_text(
        thread,
        resource_id=facts.invent_id(scene.rng, "SCI"),
        content=content,
        at=scene.started_at + after,
        pictures=pictures,
    )
    return Webhook(Kind.TEXT_RECEIVED, after + _delay(scene), body)


def _sent(scene: Scene, thread: facts.Thread, agent: str, content: str, *, after: timedelta) -> Webhook:
    body = messages.sent_text(
        thread,
        resource_id=facts.invent_id(scene.rng, "SCI"),
        agent=agent,
        content=content,
        at=scene.started_at + after,
    )
    return Webhook(Kind.TEXT_SENT, after + _delay(scene), body)


def _text(scene: Scene) -> Sequence[Webhook]:
    thread = facts.invent_thread(scene.rng, company=scene.company)
    webhooks = [_received(scene, thread, facts.invent_question(scene.rng), after=timedelta(0))]
    if scene.rng.random() < 0.5:
        agent, reply = facts.invent_reply(scene.rng)
        webhooks.append(_sent(scene, thread, agent, reply, after=scene.span(60, 600)))
    return webhooks


def _text_thread(scene: Scene) -> Sequence[Webhook]:
    thread = facts.invent_thread(scene.rng, company=scene.company)
    webhooks = []
    after = timedelta(0)
    for agent, content in facts.invent_dialogue(scene.rng):
        webhooks.append(
            _sent(scene, thread, agent, content, after=after)
            if agent
            else _received(scene, thread, content, after=after)
        )
        after += scene.span(30, 300)
    return webhooks


def _mms(scene: Scene) -> Sequence[Webhook]:
    thread = facts.invent_thread(scene.rng, company=scene.company)
    pictures = scene.rng.randint(1, 3)
    return [_received(scene, thread, facts.invent_caption(scene.rng), after=timedelta(0), pictures=pictures)]


def _opt_out(scene: Scene) -> Sequence[Webhook]:
    thread = facts.invent_thread(scene.rng, company=scene.company)
    agent, reply = facts.invent_reply(scene.rng)
    replied = scene.span(60, 600)
    return [
        _received(scene, thread, facts.invent_question(scene.rng), after=timedelta(0)),
        _sent(scene, thread, agent, reply, after=replied),
        _received(scene, thread, facts.invent_opt_out(scene.rng), after=replied + scene.span(30, 300)),
    ]


def _form(scene: Scene) -> Sequence[Webhook]:
    form = messages.submitted_form(
        scene.company,
        facts.invent_person(scene.rng),
        facts.invent_source(scene.rng, online=True),
        resource_id=facts.invent_id(scene.rng, "FRM"),
        message=facts.invent_question(scene.rng),
        at=scene.started_at,
    )
    return [Webhook(Kind.FORM_SUBMISSION, _delay(scene), form)]


# --- all of them -----------------------------------------------------------------------------------------------------

_ALL = (
    Scenario("missed", "It rings at the business, and nobody picks up.", _call(facts.invent_missed)),
    Scenario("answered", "Somebody picks up; every other call is tagged and noted later.", _answered),
    Scenario("voicemail", "Nobody picks up, and the caller leaves a message.", _call(facts.invent_voicemail)),
    Scenario("abandoned", "The caller hangs up before the call is routed.", _call(facts.invent_abandoned)),
    Scenario("form", "Somebody fills in the form of the web site.", _form),
    Scenario("text", "Somebody writes a text; every other one is answered.", _text),
    Scenario("outbound", "The company calls a customer, who picks up; a note follows.", _outbound),
    Scenario("outbound_missed", "The company calls a customer, who does not pick up.", _outbound_missed),
    Scenario("late_post_call", "A missed call whose post-call comes hours late.", _late_post_call),
    Scenario(
        "missing_recording", "Recording and transcript come after the post-call, as a change.", _missing_recording
    ),
    Scenario("held_back", "A missed call whose post-call comes minutes after the hang-up.", _held_back),
    Scenario(
        "late_voicemail", "A missed call that proves to be a voicemail minutes later, as a change.", _late_voicemail
    ),
    Scenario("tag_on_off_on", "A tag is put on, taken off and put on again in equal bytes.", _tag_on_off_on),
    Scenario("marked_spam", "A missed call is marked as spam later.", _marked_spam),
    Scenario("score_later", "The lead is scored after the call, by CallRail and then by hand.", _score_later),
    Scenario("text_thread", "A conversation by text, both ways.", _text_thread),
    Scenario("mms", "A text with pictures.", _mms),
    Scenario("opt_out", "Somebody writes, is answered, and replies STOP.", _opt_out),
    Scenario("out_of_order", "A missed call whose post-call comes before its pre-call.", _out_of_order),
    Scenario("duplicated", "A missed call, every webhook of it twice.", _duplicated),
    Scenario(
        "form_encoded",
        "A call whose webhooks are posted as forms, all values text.",
        _call(facts.invent_answered),
        writing=Writing.FORM,
    ),
    Scenario("legacy_names", "A call in CallRail's names of before 2021, with numbers for ids.", _legacy_names),
    Scenario(
        "wrong_key",
        "A call signed with a key that is not the company's; must be refused.",
        _call(facts.invent_missed),
        signer=Signer.SOMEBODY_ELSE,
    ),
    Scenario(
        "unsigned",
        "A call without a signature; must be refused.",
        _call(facts.invent_missed),
        signer=Signer.NOBODY,
    ),
    Scenario("voice_assist", "CallRail's assistant picks up and takes a message.", _voice_assist),
    Scenario("convert_assist", "After an answered call Convert Assist gives its advice.", _convert_assist),
    Scenario("repeat_caller", "Somebody whose call was missed calls again, and is answered.", _repeat_caller),
    Scenario("withheld_number", "A missed call by somebody who shows no number.", _withheld_number),
)
SCENARIOS = {scenario.name: scenario for scenario in _ALL}
