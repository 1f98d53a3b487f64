"""What CallRail is: webhook kinds, signature and payload forms, and the HTTP client all our requests go through.

Imports nothing from `receiver` or `routers`; knows no SQL, no ASGI and no YAML.
"""
