"""Takes events in: the ASGI app, companies and their keys, the intake, the single writer and the SQL event store.

Imports `callrail` only. Knows nothing of rules, sinks or dispatching, so it is a complete intake on its own.
"""
