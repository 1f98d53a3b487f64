"""`type: hubspot`: each call, text and form is a record of one contact, which is found or created."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from receiver.positioned_yaml import Loc
from receiver.secrets import SecretRef
from routers.audience import Audience
from routers.durations import Duration
from routers.escapes import plain
from routers.messages import Amend, Message
from routers.outcomes import Delivered, Outcome, Rejected, Retry
from routers.rates import Rate, WrittenRate
from routers.sandbox import TemplateFailed
from routers.sinks.config import BaseUrl, written_or_reference
from routers.sinks.crm import CrmMemory, CrmSinkConfig, Event, Who
from routers.sinks.crm_reading import event_of, name_of, nothing_to_log, present_of
from routers.sinks.filling import OWN_NAMES, Values, compiled, filled, texts_in
from routers.sinks.hubspot_api import Api
from routers.sinks.hubspot_log import Log, Wanted
from routers.sinks.hubspot_properties import check_account, set_up, steps
from routers.sinks.hubspot_records import Extra, due_at, extra_key, thing_of
from routers.sinks.sink import Check
from routers.uncertain import OnUncertain

# The properties of contacts come in one answer, hundreds of them with all their options; a body has up to six bytes for
# each of its characters.
_MAX_ANSWER = 16 * 1024 * 1024
_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
# Documented are 100 requests in ten seconds; some room is left for the rare delivery that costs more.
_REQUESTS_A_SECOND, _OF_A_DELIVERY = 8, 4


def _property_names(written: dict[str, Any]) -> dict[str, Any]:
    for name in written:
        if not _NAME.fullmatch(name):
            raise ValueError(f"'{name}' is no name of a property; one looks like lifecyclestage")
    return written


Mapped = Annotated[dict[str, str | int | float | bool], AfterValidator(_property_names)]


class CreatesConfig(BaseModel):
    """What else is made when something is logged, once, and never changed again."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    object: Literal["task", "lead", "deal"]
    """What is made."""
    when: Annotated[tuple[Event, ...], Field(min_length=1)]
    """Of which calls, texts and forms: answered, missed, abandoned, voicemail, outbound, text, form."""
    who: Who = "anybody"
    """Of whom: of people of whom nothing was known before, of others, or of anybody."""
    due_in: Duration = timedelta(0)
    """Of a task, how long after the call it is due."""
    fields: Mapped = Field(default={})
    """Its properties; texts may be templates. A deal needs dealname, pipeline and dealstage, by their ids."""


class HubSpotConfig(CrmSinkConfig):
    """Logs what happens at HubSpot, each as a record of one contact."""

    max_answer = _MAX_ANSWER

    type: Literal["hubspot"]
    """What sort of sink it is."""
    token: Annotated[SecretRef, BeforeValidator(written_or_reference)]
    """The reference to the token of a service key, or of a private app."""
    base_url: BaseUrl = "https://api.hubapi.com"
    """Where HubSpot is; of use for a stand-in."""
    api_version: Annotated[str, Field(pattern=r"^20[0-9]{2}-(03|09)$")] = "2026-09"
    """The dated version of the API, quoted."""
    owner: Annotated[str, Field(pattern=r"^[0-9]{1,20}$")] | None = None
    """Id of the user who gets what is made, quoted; nobody if not written."""
    create_contacts: bool = True
    """Whether somebody who is not found becomes a contact. If not, the record is nobody's."""
    log_spam: bool = False
    """Whether what is marked as spam is logged. What is logged already is marked either way."""
    contact_fields: Mapped = Field(default={})
    """Further properties of a contact that is made; texts may be templates: {lifecyclestage: lead}."""
    call_fields: Mapped = Field(default={})
    """Further properties of calls, kept up to date: {lead_score: "{{ now.lead_score }}"}."""
    creates: Annotated[tuple[CreatesConfig, ...], Field(max_length=10)] = ()
    """Tasks, leads and deals that are made when something is logged."""
    audience: Audience = Audience.SYSTEMS
    """Who is at the other end: systems, unless told otherwise."""
    on_uncertain: OnUncertain = OnUncertain.RETRY
    """What follows a write whose answer was lost: it is written again, which HubSpot refuses if it is there."""
    amend: Amend = Amend.EDIT
    """What later news of a thing does to its record: edit it, or nothing (silent)."""
    rate: WrittenRate | None = Rate(2, timedelta(seconds=1))
    """How many deliveries it takes at most, over all processes. Each costs four requests and one for each of `creates`;
    if not written, it is less where `creates` has something."""

    @model_validator(mode="before")
    @classmethod
    def _stays_below_the_limit(cls, written: object) -> object:
        if isinstance(written, dict) and "rate" not in written and isinstance(written.get("creates"), list):
            requests = _OF_A_DELIVERY + len(written["creates"])
            return {**written, "rate": Rate(1, timedelta(seconds=requests / _REQUESTS_A_SECOND))}
        return written

    @property
    def ways_to_amend(self) -> frozenset[Amend]:
        return frozenset({Amend.EDIT, Amend.SILENT})

    def written_templates(self) -> Iterator[tuple[Loc, str]]:
        yield from texts_in(("contact_fields",), self.contact_fields)
        yield from texts_in(("call_fields",), self.call_fields)
        for n, each in enumerate(self.creates):
            yield from texts_in(("creates", n, "fields"), each.fields)

    def names_in_templates(self) -> frozenset[str]:
        return frozenset(OWN_NAMES)

    def build(self, memory: CrmMemory | None = None) -> HubSpotSink:
        """The sink; without *memory* it can be tested and set up, and delivers nothing.

        Raises:
            SecretMissing: The token is not where it should be.
            ValueError: A setting cannot be used.
        """
        token = self.token.resolve(os.environ).strip()
        if not token.isascii() or not token.isprintable() or not token:
            raise ValueError(f"what {self.token} holds is no token")
        return HubSpotSink(self, Api(self.client(), self.base_url, self.api_version, token), memory)


class HubSpotSink:
    """Logs at one account."""

    def __init__(self, config: HubSpotConfig, api: Api, memory: CrmMemory | None) -> None:
        self._config = config
        self._api = api
        self._log = Log(api, memory) if memory is not None else None
        self._of_contact = compiled(config.contact_fields, plain, has_references=False)
        self._of_call = compiled(config.call_fields, plain, has_references=False)
        self._extras = [compiled(each.fields, plain, has_references=False) for each in config.creates]

    async def deliver(self, message: Message) -> Outcome:
        """Log *message*, or bring its record up to date. What is so already is not written again."""
        if self._log is None:
            return Retry("there is no memory of what was logged", is_ours=True)
        if (nothing := nothing_to_log(message)) is not None:
            return Delivered(nothing)
        try:
            wanted = self._wanted(message)
        except TemplateFailed as error:
            return Rejected(f"a template of the sink cannot be written: {error}")
        return await self._log.log(message, wanted)

    def _wanted(self, message: Message) -> Wanted:
        values, config = Values(message), self._config
        of_call = _told(filled(self._of_call, values)) if message.object_type == "call" else {}
        return Wanted(
            thing_of(message, of_call, config.owner, logs_spam=config.log_spam, fields=config.fields),
            name_of(present_of(message, config.fields)),
            _told(filled(self._of_contact, values)),
            config.owner,
            creates_contacts=config.create_contacts,
            extras=tuple(self._extras_of(message, values)),
        )

    def _extras_of(self, message: Message, values: Values) -> Iterator[Extra]:
        if message.is_spam:
            return
        event, owner = event_of(message), self._config.owner
        owned = {"hubspot_owner_id": owner} if owner is not None else {}
        for n, each in enumerate(self._config.creates):
            if event in each.when:
                fields = _told(filled(self._extras[n], values))
                yield Extra(
                    f"{each.object}s",
                    extra_key(message, n),
                    {**owned, **_needed(each, message, str(values["title"])), **fields},
                    each.who,
                )

    async def check(self) -> Sequence[Check]:
        """Whether the token is taken, and the properties are there that it needs. Nothing is written."""
        return await check_account(self._api, self._kinds)

    async def plan_setup(self) -> Sequence[str]:
        """What `set_up` would make. Nothing is written."""
        return [f"would make {step.what}" for step in await steps(self._api, self._kinds)]

    async def set_up(self) -> Sequence[Check]:
        """Make what is missing; what came of each step."""
        return await set_up(self._api, self._kinds)

    @property
    def _kinds(self) -> list[str]:
        """The kinds of records that have a property of ours."""
        return sorted({"calls", "communications", "tasks", *(f"{each.object}s" for each in self._config.creates)})

    async def aclose(self) -> None:
        await self._api.aclose()


def _needed(each: CreatesConfig, message: Message, title: str) -> Mapping[str, str]:
    """What such a record needs, unless the settings say otherwise."""
    if each.object == "task":
        due = due_at(message, each.due_in)
        status = {"hs_task_status": "NOT_STARTED", "hs_task_type": "CALL"}
        return {"hs_timestamp": due, "hs_task_subject": title[:1000], **status}
    return {"hs_lead_name": title[:255]} if each.object == "lead" else {"dealname": title[:255]}


def _told(more: Mapping[str, Any]) -> dict[str, str]:
    """*more* as HubSpot takes it, without what a template left empty: that would clear what stands there."""
    written = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in more.items()}
    return {name: value for name, value in written.items() if value}
