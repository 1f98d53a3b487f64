"""Sinks: one destination a module, its settings beside it. A new one is a module and a line in `SINK_TYPES`.

A sink sends once and answers with an `Outcome`. It never sleeps, retries, logs secrets or reads the database.
"""

from __future__ import annotations

from routers.sinks.callrail import CallRailConfig
from routers.sinks.email import EmailConfig
from routers.sinks.gohighlevel import GoHighLevelConfig
from routers.sinks.http import HttpConfig
from routers.sinks.hubspot import HubSpotConfig
from routers.sinks.salesforce import SalesforceConfig
from routers.sinks.slack import SlackConfig
from routers.sinks.stdout import StdoutConfig
from routers.sinks.webhook import WebhookConfig

AnySinkConfig = (
    StdoutConfig
    | SlackConfig
    | EmailConfig
    | WebhookConfig
    | HttpConfig
    | CallRailConfig
    | HubSpotConfig
    | SalesforceConfig
    | GoHighLevelConfig
)

SINK_TYPES: dict[str, type[AnySinkConfig]] = {
    "stdout": StdoutConfig,
    "slack": SlackConfig,
    "email": EmailConfig,
    "webhook": WebhookConfig,
    "http": HttpConfig,
    "callrail": CallRailConfig,
    "hubspot": HubSpotConfig,
    "salesforce": SalesforceConfig,
    "gohighlevel": GoHighLevelConfig,
}
