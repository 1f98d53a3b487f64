"""Sends events on: router.yaml, the life cycle of a call, rules, the outbox and its dispatcher, sinks and the CLI.

Imports `receiver` and `callrail`; nothing imports it.
"""
