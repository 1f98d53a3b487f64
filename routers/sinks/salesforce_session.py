"""A session with Salesforce: asked for when there is none, once more when it has expired, and kept in memory alone.

An app logs in by OAuth 2.0, as itself with a secret (client credentials) or as a user with a signature (JWT bearer).
Both know no refresh token. Source: help.salesforce.com, "OAuth Authorization Flows" (documented; read 2026-11).
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode, urlsplit

import orjson

from callrail.answer import Answer
from callrail.exceptions import HttpError
from routers.outcomes import AuthFailed, Outcome, Retry, Uncertain, outcome_of_error, retry_after
from routers.sinks.salesforce_answers import json_of, outcome_of_answer

if TYPE_CHECKING:
    from callrail.http import HttpClient

_TOKEN_PATH = "/services/oauth2/token"  # noqa: S105  (a path)
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
# Salesforce takes an assertion for five minutes. Three leave two for a clock of ours that is ahead.
_ASSERTION_LASTS = timedelta(minutes=3)
_WORD = re.compile(r"[a-z][a-z_]{1,59}")
_USAGE = re.compile(r"api-usage=(\d{1,12})/(\d{1,12})")


class Login(Protocol):
    """By what an app logs in."""

    def form(self, now: datetime) -> Mapping[str, str]:
        """What it sends to be given a session."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class BySecret:
    """As the user whom the app runs as."""

    client_id: str
    client_secret: str

    def form(self, now: datetime) -> Mapping[str, str]:
        return {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
        }


class BySignature:
    """As *username*, with a JWT signed by the private key of the app's certificate.

    Raises:
        ValueError: *private_key* is no RSA key in PEM form, or the library that signs is not installed.
    """

    def __init__(self, client_id: str, username: str, private_key: str, base_url: str) -> None:
        self._claims = {"iss": client_id, "sub": username, "aud": _audience(base_url)}
        self._key = _rsa_key(private_key)

    def form(self, now: datetime) -> Mapping[str, str]:
        claims = {**self._claims, "exp": int((now + _ASSERTION_LASTS).timestamp())}
        signed = b".".join(_base64(orjson.dumps(part)) for part in ({"alg": "RS256"}, claims))
        return {"grant_type": _JWT_BEARER, "assertion": b".".join((signed, _base64(self._signature(signed)))).decode()}

    def _signature(self, signed: bytes) -> bytes:
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        signature: bytes = self._key.sign(signed, PKCS1v15(), SHA256())
        return signature


def _audience(base_url: str) -> str:
    """Where the app's user logs in, for whom the assertion is: another host for sandboxes (documented)."""
    return f"https://{'test' if '.sandbox.' in (urlsplit(base_url).hostname or '') else 'login'}.salesforce.com"


def _rsa_key(pem: str) -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise ValueError("private_key needs one more library: pip install 'callrail-router[salesforce]'") from None
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):  # what they say may hold a part of the key
        raise ValueError("private_key is no private key in PEM form without a password") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("private_key is no RSA key, which is what Salesforce takes")  # noqa: TRY004  (a setting)
    return key


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


# --- the session -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Usage:
    """How many of the org's requests of the last 24 hours are used, by all who ask it."""

    used: int
    allowed: int


class Session:
    """Asks the org, with a session that it looks after.

    Attributes:
        usage: What the newest answer told of the org's allowance; None before that.
    """

    def __init__(self, client: HttpClient, base_url: str, api_version: str, login: Login) -> None:
        self._client = client
        self._base_url = base_url
        self._login = login
        self._token: str | None = None
        self._one_at_a_time = asyncio.Lock()
        self.path = f"/services/data/v{api_version}"
        self.usage: Usage | None = None

    async def ask(self, method: str, path: str, body: object = None) -> Answer | Outcome:
        """The answer to one request, whatever it says; an outcome where there is none, or no session."""
        token = await self._session(instead_of=None)
        if not isinstance(token, str):
            return token
        answer = await self._send(method, path, body, token)
        if not isinstance(answer, Answer) or answer.status != 401:
            return answer
        token = await self._session(instead_of=token)  # it has expired, and nothing was done
        return token if not isinstance(token, str) else await self._send(method, path, body, token)

    async def _send(self, method: str, path: str, body: object, token: str) -> Answer | Outcome:
        headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        if body is not None:
            headers["content-type"] = "application/json; charset=utf-8"
        url = f"{self._base_url}{self.path}{path}"
        content = None if body is None else orjson.dumps(body)
        try:
            answer = await self._client.request(method, url, content=content, headers=headers)
        except HttpError as error:
            return outcome_of_error(error)
        if found := _USAGE.search(answer.headers.get("sforce-limit-info", "")):
            self.usage = Usage(int(found[1]), int(found[2]))
        return answer

    async def _session(self, *, instead_of: str | None) -> str | Outcome:
        """The session's token; a new one if there is none, or only that one. Who waited takes what came meanwhile."""
        async with self._one_at_a_time:
            if self._token is None or self._token == instead_of:
                self._token = None
                found = await self._log_in()
                if not isinstance(found, str):
                    return found
                self._token = found
            return self._token

    async def _log_in(self) -> str | Outcome:
        now = datetime.now(UTC)
        content = urlencode(self._login.form(now)).encode()
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        try:
            answer = await self._client.post(f"{self._base_url}{_TOKEN_PATH}", content=content, headers=headers)
        except HttpError as error:
            return _once_more(outcome_of_error(error))
        told = json_of(answer.body)
        if not isinstance(told, dict):
            return _once_more(outcome_of_answer(answer, now=now))
        token, word = told.get("access_token"), told.get("error")
        if answer.status == 200 and isinstance(token, str) and re.fullmatch(r"[!-~]{1,4000}", token):
            return token
        if word in _PASSING:
            return Retry(f"no session: {word}", retry_after(answer.headers, now=now), whole_lane=True)
        if answer.status in (400, 401, 403):
            known = word if isinstance(word, str) and _WORD.fullmatch(word) else f"HTTP {answer.status}"
            return AuthFailed(f"no session: {known}{_REMEDIES.get(known, '')}")
        return _once_more(outcome_of_answer(answer, now=now))


def _once_more(outcome: Outcome) -> Outcome:
    """Of the request for a session: a lost answer has done nothing."""
    return Retry(f"no session: {outcome.reason}") if isinstance(outcome, Uncertain) else outcome


# It is busy, or has too many who log in (documented); of the last it says itself "retry your request" (observed).
_PASSING = ("temporarily_unavailable", "server_error", "rate_limit_exceeded", "unknown_error")
_REMEDIES = {
    "invalid_client": ": the client_secret is not the app's",
    "invalid_client_id": ": Salesforce knows no app by this client_id; a new one takes some minutes",
    "invalid_grant": ": the app's user may not log in, or the assertion is not taken (the certificate, the username, "
    "the app's policies, or the clock of this machine)",
    "inactive_user": ": the app's user is not active",
    "inactive_org": ": the org is closed or being moved",
    "unsupported_grant_type": ": switch on the flow in the app (client credentials, or JWT bearer)",
    "invalid_app_access": ": let the app's user use the app, by a permission set or the app's policies",
}
