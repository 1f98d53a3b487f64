"""The client of the API against the fake CallRail, over real sockets."""
