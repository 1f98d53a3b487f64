"""Look-ups: what the API knows beside a webhook, asked only if a rule or a message needs it."""
