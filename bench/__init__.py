"""The benchmark: `python -m bench` measures the installed router on this machine and prints one table.

Everything is real: the command as a subprocess, databases that make a COMMIT durable, HTTP over loopback. The load and
the sink are processes of their own on the same cores, so compare figures within one run and never across machines.
May import all packages, and `tests.postgresql` for its server.
"""
