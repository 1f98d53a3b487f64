"""Recordings and media of texts, fetched and kept in a folder: `fetch_media` of an account.

`wanted` says what a thing has, which routing writes down in the transaction that routes its event (`rows`); `fetching`
asks CallRail for it, `content` says what a file holds, `folder` keeps it, and `aging` removes it again. Imports what
other modules of `routers` do; routing, retention and erasure import `rows`.
"""
