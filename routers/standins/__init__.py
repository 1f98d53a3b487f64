"""Stand-ins for destinations, on loopback sockets: what `demo` tells its messages to, so that nobody else is told.

Each speaks what our sinks speak to the real one and hands on what a person would see there. May import all that
sinks may; a stand-in knows no sink and no terminal.
"""
