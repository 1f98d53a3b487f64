"""Integrations of a company; the one of type Webhooks is what tells a receiver of calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Unpack

from callrail.bodies import IntegrationConfig
from callrail.model import Deleted, Id, Model, Object, Text
from callrail.operation import UNSET, ListOptions, Options, Resource, WriteOptions, listing, operation
from callrail.paging import Listing
from callrail.parameter import Risk
from callrail.request import Danger

IntegrationField = Literal["signing_key"]


class Integration(Model):
    """An integration. *config* depends on the type and may hold secrets of third parties; so does *signing_key*.

    Of type Webhooks, each key of *config* is a list of addresses: ``pre_call_webhook``, ``answered_call_webhook``,
    ``post_call_webhook``, ``updated_call_webhook``, ``post_outbound_call_webhook``, ``updated_outbound_call_webhook``,
    ``sms_received_webhook``, ``sms_sent_webhook``, ``form_captured_webhook``.
    """

    id: Id = ""
    type: Text = None
    state: Text = None
    config: Object = None
    signing_key: Text = None


def _config_of_its_type(type: str, config: Any) -> str | None:  # noqa: A002  (CallRail's name)
    has_cookies, has_addresses = "grab_cookies" in config, bool(config.keys() - {"grab_cookies"})
    if type == "Custom" and (has_addresses or not has_cookies):
        return "config of type Custom needs grab_cookies, and takes nothing else"
    if type == "Webhooks" and has_cookies:
        return "config of type Webhooks takes no grab_cookies"
    return None


def _config_of_one_type(config: Any) -> str | None:
    """What can be told where the integration's type is not known."""
    wrong = config is not UNSET and "grab_cookies" in config and len(config) > 1
    return "config has grab_cookies, of type Custom, beside addresses, of type Webhooks" if wrong else None


class Integrations(Resource, named="integrations"):
    """Integrations of a company, one of each type."""

    @listing("integrations.json", "integrations")
    def list(
        self, *, company_id: str, fields: Sequence[IntegrationField] | None = None, **options: Unpack[ListOptions]
    ) -> Listing[Integration]:
        """List a company's integrations, of all types.

        Args:
            company_id: ``COM...``.
            fields: Fields to add: ``signing_key`` is the key that signs webhooks.
        """

    @operation("GET", "integrations/{integration_id}.json")
    async def get(
        self, integration_id: str, *, fields: Sequence[IntegrationField] | None = None, **options: Unpack[Options]
    ) -> Integration:
        """Get one integration by its id.

        Args:
            integration_id: Number of the integration.
            fields: Fields to add: ``signing_key``.
        """

    @operation("POST", "integrations.json", rules=[_config_of_its_type])
    async def create(
        self,
        *,
        company_id: str,
        type: Literal["Webhooks", "Custom"],  # noqa: A002  (CallRail's name)
        config: IntegrationConfig,
        **options: Unpack[WriteOptions],
    ) -> Integration:
        """Create an integration; only these two types can be.

        Args:
            company_id: ``COM...``.
            type: ``Webhooks``, or ``Custom`` to keep cookies of the website's visitors.
            config: Lists of addresses by event for Webhooks; ``grab_cookies``, a list of names, for Custom.

        Raises:
            Forbidden: The key's user may not administer integrations (observed).
        """

    @operation("PUT", "integrations/{integration_id}.json", rules=[_config_of_one_type])
    async def update(
        self,
        integration_id: str,
        *,
        state: Annotated[Literal["active", "disabled"], Risk(Danger.DELETES, ("disabled",))] = UNSET,
        config: Annotated[IntegrationConfig, Danger.DELETES] = UNSET,
        **options: Unpack[WriteOptions],
    ) -> Integration:
        """Switch an integration on or off, or set its configuration.

        Whether a part of ``config`` is merged into the rest is not known: read it, change it, send all of it.

        Args:
            integration_id: Number of the integration.
            state: On or off.
            config: All of the configuration; what is left out may be gone.
        """

    @operation("DELETE", "integrations/{integration_id}.json", dangers=[Danger.DELETES])
    async def delete(self, integration_id: str, **options: Unpack[WriteOptions]) -> Deleted:
        """Disable an integration.

        Args:
            integration_id: Number of the integration.
        """
