"""CallRail's webhook signature: HMAC-SHA1 over the raw body, base64, in the header `Signature`.

The key is used as its text and not decoded from hex; no URL, query string or timestamp is signed. Documented at
apidocs.callrail.com, "Validating Payloads"; the vector published there is in the tests.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Iterable


def sign(key: bytes, body: bytes) -> str:
    """The value of the `Signature` header for *body*: 28 characters of padded standard base64."""
    return b64encode(hmac.digest(key, body, "sha1")).decode("ascii")


def matching_key(keys: Iterable[bytes], body: bytes, signature: str) -> int | None:
    """The position of the key that signed *body*, or None. All keys are tried, each compared in constant time.

    *signature* is whatever the header held: prefixes, hex, missing padding or characters outside ASCII match nothing.
    """
    given = signature.encode("utf-8", "surrogatepass")
    found = None
    for position, key in enumerate(keys):
        if hmac.compare_digest(sign(key, body).encode("ascii"), given):
            found = position
    return found
