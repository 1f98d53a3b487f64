"""`type: salesforce`: each call, text and form is a task of one contact or lead, which is found or created."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from receiver.positioned_yaml import Loc
from receiver.secrets import SecretRef
from routers.audience import Audience
from routers.durations import Duration
from routers.escapes import plain
from routers.messages import Amend, Message
from routers.outcomes import Outcome, Retry
from routers.sinks.config import resolved, written_or_reference
from routers.sinks.crm import CrmMemory, CrmSinkConfig
from routers.sinks.filling import OWN_NAMES, compiled, texts_in
from routers.sinks.salesforce_checking import check_org, needed, steps
from routers.sinks.salesforce_log import Log
from routers.sinks.salesforce_people import KEY, LEAD
from routers.sinks.salesforce_plan import Wanted
from routers.sinks.salesforce_reading import Mapped, Opens, wanted_of
from routers.sinks.salesforce_session import BySecret, BySignature, Login, Session
from routers.sinks.salesforce_tasks import OWN, TASK
from routers.sinks.sink import Check
from routers.uncertain import OnUncertain

if TYPE_CHECKING:
    from callrail.http import HttpClient

# What the description of a kind of objects has at most, with all the fields that an org adds (observed: much less).
_MAX_ANSWER = 4 * 1024 * 1024
_MY_DOMAIN = re.compile(
    r"[a-z0-9-]+(\.(sandbox|develop|scratch|demo|patch|trailblaze|free))?\.my\.salesforce(\.com|\.mil)"
)
_OLDEST = 50  # of the versions that tell what an upsert did, and that Salesforce has not retired
_FIELD = re.compile(r"[A-Za-z]\w{0,79}")
_OWNER = re.compile(r"00[5G][A-Za-z0-9]{12}([A-Za-z0-9]{3})?")


def _field_names(written: dict[str, Any]) -> dict[str, Any]:
    for name in written:
        if not _FIELD.fullmatch(name):
            raise ValueError(f"'{name}' is no API name of a field; one looks like LeadSource or Region__c")
    if twice := [name for name in written if sum(name.lower() == other.lower() for other in written) > 1]:
        raise ValueError(f"{' and '.join(twice)} are one field: Salesforce knows names in any case of letters")
    return written


def _without(written: dict[str, Any], own: Iterable[str]) -> dict[str, Any]:
    """Refuse what the sink writes itself: a query that names a field twice is refused by Salesforce (documented)."""
    ours = {name.lower(): name for name in own}
    for name in written:
        if name.lower() in ours:
            raise ValueError(f"{ours[name.lower()]} is written by the sink itself; name further fields")
    return written


MappedFields = Annotated[dict[str, str | int | float | bool], AfterValidator(_field_names)]


class OpportunityConfig(BaseModel):
    """What opportunities are opened as."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    stage: Annotated[str, Field(min_length=1, max_length=255)]
    """The stage, by the API name of its value, like Prospecting."""
    closes_in: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(days=3660))] = timedelta(days=30)
    """How long after it the close date is."""


class SalesforceConfig(CrmSinkConfig):
    """Logs what happens as tasks of Salesforce, each of one contact or lead."""

    max_answer = _MAX_ANSWER

    type: Literal["salesforce"]
    """What sort of sink it is."""
    base_url: str
    """The address of My Domain, like https://acme.my.salesforce.com; Setup shows it under My Domain."""
    client_id: Annotated[str | SecretRef, BeforeValidator(written_or_reference)]
    """The consumer key of the app, or a reference to it."""
    client_secret: SecretRef | None = None
    """The reference to the app's consumer secret, for the client credentials flow."""
    private_key: SecretRef | None = None
    """Instead of it, for the JWT bearer flow: the reference to the RSA key of the app's certificate, in PEM form."""
    username: str | None = None
    """The user as whom the app logs in with private_key."""
    api_version: str = "66.0"
    """The version of the REST API, quoted."""
    owner: str | None = None
    """Id of the user or queue who gets the leads and tasks that are made; else Salesforce's own rules say."""
    create_leads: bool = True
    """Whether somebody who is not found becomes a lead. If not, the task is nobody's."""
    duplicates: Literal["use", "allow"] = "use"
    """Where a duplicate rule finds somebody who can be the caller: use takes that one; allow makes the lead at once."""
    log_spam: bool = False
    """Whether what is marked as spam is logged. A task that is there already is marked either way."""
    opportunity: OpportunityConfig | None = None
    """What is opened when a contact calls, texts or writes who has none of ours open; nothing if not written."""
    lead_fields: MappedFields = Field(default={})
    """Further fields of a lead that is made, by API name; texts may be templates: {LeadSource: "{{ source }}"}."""
    task_fields: MappedFields = Field(default={})
    """Further fields of tasks, kept up to date: {Score__c: "{{ now.lead_score }}"}."""
    audience: Audience = Audience.SYSTEMS
    """Who is at the other end: systems, unless told otherwise."""
    on_uncertain: OnUncertain = OnUncertain.RETRY
    """What follows a write whose answer was lost: it is looked up and, if it is not there, written again."""
    amend: Amend = Amend.EDIT
    """What later news of a thing does to its task: edit it, or nothing (silent)."""

    @field_validator("api_version")
    @classmethod
    def _is_a_version(cls, written: str) -> str:
        if not re.fullmatch(r"[1-9][0-9]{1,2}\.0", written) or float(written) < _OLDEST:
            raise ValueError(f'a version is written like "66.0", and "{_OLDEST}.0" is the oldest')
        return written

    @field_validator("owner")
    @classmethod
    def _is_an_owner(cls, written: str | None) -> str | None:
        if written is not None and not _OWNER.fullmatch(written):
            raise ValueError("an owner is told by the id of a user (005...) or a queue (00G...)")
        return written

    @field_validator("lead_fields")
    @classmethod
    def _of_leads(cls, written: dict[str, Any]) -> dict[str, Any]:
        return _without(written, ("Id", KEY))

    @field_validator("task_fields")
    @classmethod
    def _of_tasks(cls, written: dict[str, Any]) -> dict[str, Any]:
        return _without(written, (*OWN, "TaskSubtype"))

    @model_validator(mode="after")
    def _one_way_in(self) -> SalesforceConfig:
        if (self.client_secret is None) is (self.private_key is None):
            raise ValueError("a salesforce sink needs client_secret, or private_key and username")
        if (self.private_key is None) is not (self.username is None):
            raise ValueError("username goes with private_key, and private_key with username")
        return self

    @model_validator(mode="after")
    def _at_my_domain(self) -> SalesforceConfig:
        parts = urlsplit(self.base_url)
        if parts.hostname in self.allow_hosts:
            return self
        if parts.scheme != "https" or not _MY_DOMAIN.fullmatch(parts.netloc) or parts.path.strip("/"):
            raise ValueError(
                "base_url is the address of My Domain, like https://acme.my.salesforce.com; login.salesforce.com and "
                "addresses that end in lightning.force.com do not do"
            )
        return self

    @property
    def ways_to_amend(self) -> frozenset[Amend]:
        return frozenset({Amend.EDIT, Amend.SILENT})

    def written_templates(self) -> Iterator[tuple[Loc, str]]:
        yield from texts_in(("lead_fields",), self.lead_fields)
        yield from texts_in(("task_fields",), self.task_fields)

    def names_in_templates(self) -> frozenset[str]:
        return frozenset(OWN_NAMES)

    def build(self, memory: CrmMemory | None = None) -> SalesforceSink:
        """The sink; without *memory* one that can only be looked at.

        Raises:
            SecretMissing: A secret is not where it should be.
            ValueError: It is none that can be used.
        """
        login, mapped = self._login(), self.mapped()
        return SalesforceSink(self.client(), self.base_url.rstrip("/"), self.api_version, login, mapped, memory)

    def mapped(self) -> Mapped:
        """How a message becomes records.

        Raises:
            ValueError: A template cannot be read.
        """
        return Mapped(
            self.owner,
            creates_leads=self.create_leads,
            allows_duplicates=self.duplicates == "allow",
            logs_spam=self.log_spam,
            opens=Opens(self.opportunity.stage, self.opportunity.closes_in) if self.opportunity is not None else None,
            fields=self.fields,
            of_leads=compiled(self.lead_fields, plain, has_references=False),
            of_tasks=compiled(self.task_fields, plain, has_references=False),
        )

    def _login(self) -> Login:
        client_id = resolved(self.client_id).strip()
        if self.private_key is not None and self.username is not None:
            return BySignature(client_id, self.username, self.private_key.resolve(os.environ), self.base_url)
        if self.client_secret is None:
            raise ValueError("a salesforce sink needs client_secret, or private_key and username")
        return BySecret(client_id, self.client_secret.resolve(os.environ).strip())


class SalesforceSink:
    """Logs at one org."""

    def __init__(
        self,
        client: HttpClient,
        base_url: str,
        api_version: str,
        login: Login,
        mapped: Mapped,
        memory: CrmMemory | None,
    ) -> None:
        self._client = client
        self._base_url = base_url
        self._login = login
        self._session = Session(client, base_url, api_version, login)
        self._mapped = mapped
        more: Mapping[str, Iterable[str]] = {LEAD: mapped.of_leads, TASK: mapped.of_tasks}
        self._needed = needed(more, opens=mapped.opens is not None)
        self._log = Log(self._session, memory, base_url) if memory is not None else None

    async def deliver(self, message: Message) -> Outcome:
        """Log *message*, or bring its task up to date. What is so already is not written again."""
        if self._log is None:
            return Retry("there is no memory of what was logged", is_ours=True)
        wanted = wanted_of(message, self._mapped)
        return await self._log.log(message, wanted) if isinstance(wanted, Wanted) else wanted

    async def plan_setup(self) -> Sequence[str]:
        """What an administrator has to do in the org, step by step: none of it is done by us."""
        return steps(self._base_url, self._needed, by_signature=isinstance(self._login, BySignature))

    async def set_up(self) -> Sequence[Check]:
        """Look at all; whoever may make fields may do far more than log, so that we make none."""
        return await self.check()

    async def check(self) -> Sequence[Check]:
        """Whether the app has a session, and its user the rights and fields that it needs. Nothing is written."""
        return await check_org(self._session, self._needed)

    async def aclose(self) -> None:
        await self._client.aclose()
