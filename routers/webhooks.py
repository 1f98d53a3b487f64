"""Our addresses in a company's Webhooks integration at CallRail: what is there, what is to be there, the difference.

CallRail keeps a list of addresses for each sort of webhook, and other systems have theirs in the same lists. Ours are
put beside them; nothing of others is ever taken away. Whether CallRail merges a part of the configuration into the rest
is not documented, so it is read, changed and written as one, and read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from callrail.client import CallRail
from callrail.kinds import Kind
from callrail.resources.integration_triggers import IntegrationTrigger
from callrail.resources.integrations import Integration
from routers.urls import HookUrl

# The API has no key for Convert Assist and Voice Assist: those are pasted by hand.
CONFIG_KEY: Mapping[Kind, str] = {
    Kind.PRE_CALL: "pre_call_webhook",
    Kind.CALL_ROUTING_COMPLETE: "answered_call_webhook",
    Kind.POST_CALL: "post_call_webhook",
    Kind.CALL_MODIFIED: "updated_call_webhook",
    Kind.OUTBOUND_POST_CALL: "post_outbound_call_webhook",
    Kind.OUTBOUND_CALL_MODIFIED: "updated_outbound_call_webhook",
    Kind.TEXT_RECEIVED: "sms_received_webhook",
    Kind.TEXT_SENT: "sms_sent_webhook",
    Kind.FORM_SUBMISSION: "form_captured_webhook",
}


@dataclass(frozen=True)
class Installed:
    """What CallRail has for a company: the integration, None if there is none, and the filters that hold it back."""

    integration: Integration | None
    filters: Sequence[IntegrationTrigger]

    @property
    def config(self) -> Mapping[str, Any]:
        """The addresses by CallRail's key."""
        return (self.integration.config if self.integration else None) or {}

    @property
    def state(self) -> str:
        """`active`, `disabled`, `pending`, `failed`, or `missing`."""
        return (self.integration.state or "unknown") if self.integration else "missing"

    def urls(self, key: str) -> list[str]:
        """The addresses under one key."""
        told = self.config.get(key)
        return [str(url) for url in told] if isinstance(told, list) else []


async def look(client: CallRail, company_id: str) -> Installed:
    """What CallRail has for the company with this id, with its signing key."""
    found = client.integrations.list(company_id=company_id, fields=["signing_key"])
    integration = next(iter([each async for each in found if each.type == "Webhooks"]), None)
    triggers = [each async for each in client.integration_triggers.list(company_id=company_id)]
    own = [each for each in triggers if integration is not None and each.integration_id == integration.id]
    # One without an integration is for all that have none of their own.
    return Installed(integration, own or [each for each in triggers if each.integration_id is None])


@dataclass(frozen=True)
class Step:
    """One address to be there. *is_there* already; *others* stand beside it, *replaced* would make room for it."""

    hook: HookUrl
    key: str | None
    is_there: bool
    others: Sequence[str]
    replaced: str | None = None

    @property
    def by_hand(self) -> bool:
        """Whether the API cannot set it."""
        return self.key is None


@dataclass(frozen=True)
class Plan:
    """What is to be done for one company. *creates* the integration; *activates* it."""

    steps: Sequence[Step]
    config: Mapping[str, Any]
    creates: bool
    activates: bool

    @property
    def missing(self) -> list[Step]:
        """What would be set."""
        return [step for step in self.steps if not step.is_there and not step.by_hand]

    @property
    def is_empty(self) -> bool:
        """Whether everything is as wanted."""
        return not (self.missing or self.activates or any(step.replaced for step in self.steps))


def plan(installed: Installed, wanted: Sequence[HookUrl], *, old_base_url: str | None, activate: bool) -> Plan:
    """How to come from *installed* to *wanted*.

    Args:
        old_base_url: Where our server was reached before: addresses of the same company and sort under it are replaced.
        activate: Whether to switch on an integration that is not active.
    """
    steps = [_step(installed, hook, old_base_url) for hook in wanted]
    config = dict(installed.config)
    for step in steps:
        if step.key is not None:
            kept = [url for url in installed.urls(step.key) if url != step.replaced]
            config[step.key] = kept if step.hook.url in kept else [*kept, step.hook.url]
    return Plan(
        steps,
        config,
        creates=installed.integration is None,
        activates=activate and installed.integration is not None and installed.state != "active",
    )


def _step(installed: Installed, hook: HookUrl, old_base_url: str | None) -> Step:
    key = CONFIG_KEY.get(hook.kind)
    if key is None:
        return Step(hook, None, is_there=False, others=())
    urls = installed.urls(key)
    old = None if old_base_url is None else f"{old_base_url}/callrail/{hook.url.rpartition('/callrail/')[2]}"
    replaced = old if old in urls and old != hook.url else None
    others = [url for url in urls if url not in (hook.url, replaced)]
    return Step(hook, key, hook.url in urls, others, replaced)


async def carry_out(client: CallRail, company_id: str, installed: Installed, planned: Plan) -> Installed:
    """Write the plan's configuration; what CallRail has afterwards."""
    config = {"config": planned.config}  # unchecked, for it may hold keys that CallRail has added since
    if installed.integration is None:
        await client.integrations.create(company_id=company_id, type="Webhooks", config={}, extra_params=config)
    elif planned.activates:
        await client.integrations.update(installed.integration.id, state="active", extra_params=config)
    else:
        await client.integrations.update(installed.integration.id, extra_params=config)
    return await look(client, company_id)


def lost(planned: Plan, after: Installed) -> list[str]:
    """Addresses that the plan wanted and that are not there, ours or others'; CallRail did not take them as told."""
    return [
        url
        for key, urls in planned.config.items()
        if isinstance(urls, list)
        for url in map(str, urls)
        if url not in after.urls(key)
    ]


def shown(url: str) -> str:
    """An address of others without what may be a secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or '?'}/…"


def in_words(trigger: IntegrationTrigger) -> str:
    """What a filter lets through."""
    parts = [
        f"calls of {len(trigger.tracker_ids)} trackers only" if trigger.tracker_ids else "",
        f"{trigger.call_type} calls only" if trigger.call_type else "",
        f"calls of {trigger.min_duration} s and longer" if trigger.min_duration is not None else "",
        f"calls of {trigger.max_duration} s at most" if trigger.max_duration is not None else "",
        f"leads scored {trigger.lead_status} only" if trigger.lead_status is not None else "",
    ]
    return ", ".join(filter(None, parts)) or "everything"
