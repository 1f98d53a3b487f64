"""Real servers on loopback sockets, which behave as well or as badly as a test wants."""
