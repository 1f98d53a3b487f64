"""`type: gohighlevel`: each call, text and form is a note of one contact, which is found or made."""

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
from routers.escapes import plain
from routers.messages import Amend, Message
from routers.outcomes import Delivered, Outcome, Rejected, Retry
from routers.rates import Rate, WrittenRate
from routers.sandbox import TemplateFailed
from routers.sinks.config import BaseUrl, written_or_reference
from routers.sinks.crm import CrmMemory, CrmSinkConfig, Event, Who
from routers.sinks.crm_reading import event_of, name_of, nothing_to_log, present_of
from routers.sinks.filling import OWN_NAMES, Values, compiled, filled, texts_in
from routers.sinks.gohighlevel_answers import FIELDS
from routers.sinks.gohighlevel_api import Api
from routers.sinks.gohighlevel_checking import check_location
from routers.sinks.gohighlevel_log import Log
from routers.sinks.gohighlevel_records import STANDARD, Wanted, Workflow, note_of
from routers.sinks.sink import Check
from routers.uncertain import OnUncertain

# All notes of a contact come in one answer, each with 20,000 characters and as many bytes as JSON takes for them.
_MAX_ANSWER = 16 * 1024 * 1024
_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
# Documented are 100 requests in ten seconds; some room is left for the rare delivery that costs more.
_REQUESTS_A_SECOND, _OF_A_DELIVERY = 8, 4


def _field_names(written: dict[str, str]) -> dict[str, str]:
    known = {field.lower() for field in FIELDS}
    for name in written:
        is_id = _ID.fullmatch(name) and re.sub(r"[_-]", "", name).lower() not in known  # else written in another way
        if name not in STANDARD and not is_id:
            listed = ", ".join(sorted(STANDARD))
            raise ValueError(f"'{name}' is no field: write {listed}, or the id of a custom field")
    return written


def _identifier(written: str) -> str:
    if not _ID.fullmatch(written):
        raise ValueError("this is no id; one has eight letters and digits at least, as in the address of its page")
    return written


Identifier = Annotated[str, AfterValidator(_identifier)]


class WorkflowConfig(BaseModel):
    """A workflow that the contact enters when something is logged, once for each thing."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    id: Identifier
    """Its id: the last part of its address in GoHighLevel."""
    when: Annotated[tuple[Event, ...], Field(min_length=1)]
    """By which calls, texts and forms: answered, missed, abandoned, voicemail, outbound, text, form."""
    who: Who = "anybody"
    """Of whom: of people of whom nothing was known before (new), of others (known), or of anybody."""


class GoHighLevelConfig(CrmSinkConfig):
    """Logs what happens at GoHighLevel, each as a note of one contact."""

    max_answer = _MAX_ANSWER

    type: Literal["gohighlevel"]
    """What sort of sink it is."""
    token: Annotated[SecretRef, BeforeValidator(written_or_reference)]
    """The reference to the token of a private integration."""
    location: Identifier
    """Id of the location (the sub-account), quoted."""
    base_url: BaseUrl = "https://services.leadconnectorhq.com"
    """Where GoHighLevel is; of use for a stand-in."""
    api_version: Literal["2021-07-28", "v3"] = "2021-07-28"
    """The version of the API of contacts, quoted."""
    owner: Identifier | None = None
    """Id of the user who gets a contact that is made; nobody if not written."""
    create_contacts: bool = True
    """Whether somebody who is not found becomes a contact. If not, nothing is logged of them."""
    log_spam: bool = False
    """Whether what is marked as spam is logged. What is logged already is marked either way."""
    contact_fields: Annotated[dict[str, str], AfterValidator(_field_names)] = Field(default={})
    """Further fields of a contact that is made; texts may be templates: {city: "{{ now.customer_city }}"}."""
    tags: Annotated[tuple[str, ...], Field(max_length=20)] = ()
    """Tags that the contact gets when something is logged, beside those that it has; texts may be templates."""
    workflows: Annotated[tuple[WorkflowConfig, ...], Field(max_length=10)] = ()
    """Workflows that the contact enters when something is logged."""
    audience: Audience = Audience.SYSTEMS
    """Who is at the other end: systems, unless told otherwise."""
    on_uncertain: OnUncertain = OnUncertain.HOLD
    """What follows where it is not known whether a workflow was started: people may get messages by it. Without
    `workflows` it is retry: all else is looked up before it is written again."""
    amend: Amend = Amend.EDIT
    """What later news of a thing does to its note: edit it, or nothing (silent)."""
    rate: WrittenRate | None = Rate(2, timedelta(seconds=1))
    """How many deliveries it takes at most, over all processes. Each costs four requests, and more with `tags` and
    `workflows`; if not written, it is less then."""

    @model_validator(mode="before")
    @classmethod
    def _stays_below_the_limit(cls, written: object) -> object:
        if not isinstance(written, dict) or "rate" in written:
            return written
        workflows = written.get("workflows")
        more = (1 if written.get("tags") else 0) + (len(workflows) if isinstance(workflows, list) else 0)
        if not more:
            return written
        return {**written, "rate": Rate(1, timedelta(seconds=(_OF_A_DELIVERY + more) / _REQUESTS_A_SECOND))}

    @model_validator(mode="before")
    @classmethod
    def _holds_only_workflows(cls, written: object) -> object:
        """Where none is started, whoever was stopped amid the work is tried again: it is all looked up."""
        if isinstance(written, dict) and "on_uncertain" not in written and not written.get("workflows"):
            return {**written, "on_uncertain": OnUncertain.RETRY}
        return written

    @property
    def ways_to_amend(self) -> frozenset[Amend]:
        return frozenset({Amend.EDIT, Amend.SILENT})

    def written_templates(self) -> Iterator[tuple[Loc, str]]:
        yield from texts_in(("contact_fields",), self.contact_fields)
        yield from texts_in(("tags",), list(self.tags))

    def names_in_templates(self) -> frozenset[str]:
        return frozenset(OWN_NAMES)

    def build(self, memory: CrmMemory | None = None) -> GoHighLevelSink:
        """The sink; without *memory* it can be tested, and delivers nothing.

        Raises:
            SecretMissing: The token is not where it should be.
            ValueError: A setting cannot be used.
        """
        token = self.token.resolve(os.environ).strip()
        if not token.isascii() or not token.isprintable() or not token:
            raise ValueError(f"what {self.token} holds is no token")
        return GoHighLevelSink(self, Api(self.client(), self.base_url, self.api_version, token, self.location), memory)


class GoHighLevelSink:
    """Logs at one location."""

    def __init__(self, config: GoHighLevelConfig, api: Api, memory: CrmMemory | None) -> None:
        self._config = config
        self._api = api
        self._log = Log(api, memory, within=config.timeout) if memory is not None else None
        self._of_contact = compiled(config.contact_fields, plain, has_references=False)
        self._tags = compiled(list(config.tags), plain, has_references=False)

    async def deliver(self, message: Message) -> Outcome:
        """Log *message*, or bring its note up to date. What is so already is not written again."""
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
        present, event = present_of(message, config.fields), event_of(message)
        source = present.get("source")
        is_follower = not message.is_spam
        return Wanted(
            message.key,
            note_of(message, config.fields),
            name_of(present),
            plain(source) if isinstance(source, str) and source else None,
            _told(filled(self._of_contact, values)),
            config.owner,
            creates_contacts=config.create_contacts,
            only_changes=message.is_spam and not config.log_spam,
            tags=tuple(_tags(filled(self._tags, values))) if is_follower else (),
            workflows=tuple(
                Workflow(each.id, each.who) for each in config.workflows if is_follower and event in each.when
            ),
        )

    async def check(self) -> Sequence[Check]:
        """Whether the token is taken and may do what it needs, and the workflows are there. Nothing is written."""
        return await check_location(self._api, [each.id for each in self._config.workflows])

    async def aclose(self) -> None:
        await self._api.aclose()


def _told(more: Mapping[str, Any]) -> dict[str, str]:
    """*more* without what a template left empty: that would clear what stands there."""
    return {name: str(value) for name, value in more.items() if str(value)}


def _tags(written: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(tag for each in written if (tag := str(each)[:100].strip())))
