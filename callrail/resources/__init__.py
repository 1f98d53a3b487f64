"""The API's resources, a module each: its models, and its operations as they are declared.

Imports `callrail.operation`, `callrail.model` and `callrail.paging`.
"""
