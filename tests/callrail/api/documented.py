"""What CallRail's API offers, written down by hand and not from our declarations, which are held against it."""

from __future__ import annotations

# Method and path, below /v3/a/{account_id}/ where they do not begin with a slash. As documented in May 2026.
DOCUMENTED = """
GET /v3/a.json
GET /v3/a/{}.json
GET calls.json
GET calls/{}.json
POST calls.json
PUT calls/{}.json
GET calls/summary.json
GET calls/timeseries.json
GET calls/{}/recording.json
GET calls/{}/page_views.json
GET tags.json
POST tags.json
PUT tags/{}.json
DELETE tags/{}.json
GET companies.json
GET companies/{}.json
POST companies.json
PUT companies/{}.json
POST companies/bulk_update.json
DELETE companies/{}.json
GET form_submissions.json
POST form_submissions.json
PUT form_submissions/{}.json
POST form_submissions/ignored_fields.json
GET forms/summary.json
GET integrations.json
GET integrations/{}.json
POST integrations.json
PUT integrations/{}.json
DELETE integrations/{}.json
GET integration_triggers.json
POST integration_triggers.json
GET integration_triggers/{}.json
PUT integration_triggers/{}.json
DELETE integration_triggers/{}.json
GET notifications.json
POST notifications.json
PUT notifications/{}.json
DELETE notifications/{}.json
GET caller_ids.json
POST caller_ids.json
GET caller_ids/{}.json
DELETE caller_ids/{}.json
GET sms-threads.json
GET sms-threads/{}.json
PUT sms-threads/{}.json
GET summary_emails
POST summary_emails.json
GET summary_emails/{}.json
PUT summary_emails/{}.json
DELETE summary_emails/{}.json
GET text-messages.json
GET text-messages/{}.json
POST text-messages.json
GET message-flows.json
POST message-flows.json
GET message-flows/{}.json
PUT message-flows/{}.json
DELETE message-flows/{}.json
GET trackers.json
GET trackers/{}.json
POST trackers.json
PUT trackers/{}.json
DELETE trackers/{}.json
GET users.json
POST users.json
GET users/{}.json
PUT users/{}.json
DELETE users/{}.json
GET leads.json
GET leads/{}/timeline.json
"""

# Not documented, but seen in use.
UNDOCUMENTED = """
GET form_submissions/{}.json
GET tags/{}.json
PUT text-messages/{}.json
"""


def pairs(listed: str) -> list[tuple[str, str]]:
    """Method and path of each line."""
    return [(method, path) for method, path in (line.split() for line in listed.split("\n") if line)]
