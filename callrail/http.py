"""The one HTTP client of the project, and the only module that knows which library it is made of.

It sends a request once: no retry, no redirect, no cookie, no proxy from the environment. What went wrong is told as
`NotSent` (nothing can have happened over there) or `AnswerLost` (anything may have).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpcore2
import httpx2

from callrail.addresses import AllowList
from callrail.exceptions import AddressRefused, AnswerLost, NotSent

# The pool looks at each of its connections for each request, so its cost a request grows with its size (measured).
MAX_CONNECTIONS = 8
MAX_ANSWER_BYTES = 64 * 1024
_LAST_PORT = 65_535

_UNSENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.UnsupportedProtocol,
    httpx2.InvalidURL,
    httpx2.LocalProtocolError,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. *body* is cut at `MAX_ANSWER_BYTES`; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """A long-lived client for one destination.

    Args:
        timeout: Bound on the whole exchange, from connecting to the answer's last byte.
        allow_hosts: Hosts or networks to be reached although they are loopback, private or reserved.
        connections: How many connections it keeps at most.
    """

    def __init__(
        self, *, timeout: timedelta, allow_hosts: Iterable[str] = (), connections: int = MAX_CONNECTIONS
    ) -> None:
        self._deadline = timeout.total_seconds()
        self._client = httpx2.AsyncClient(
            transport=_GuardedTransport(AllowList(allow_hosts), connections),
            # A bit less for connecting, so that it is known for certain when nothing has left.
            timeout=httpx2.Timeout(self._deadline, connect=self._deadline * 0.8),
            trust_env=False,
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # it takes none and so sends none
            headers={"accept-encoding": "identity", "user-agent": "callrail-router"},
        )

    async def post(self, url: str, *, content: bytes, headers: Mapping[str, str]) -> Answer:
        """Post *content* once.

        Raises:
            NotSent: Nothing left this machine; `AddressRefused` when the address is one we do not connect to.
            AnswerLost: The request may have arrived, and no whole answer came in time.
        """
        try:
            async with asyncio.timeout(self._deadline):
                return await self._exchange(url, content, headers)
        except _UNSENT as error:
            raise _refusal(error) from None
        except (httpx2.TransportError, httpx2.StreamError) as error:
            raise AnswerLost(_sentence(error)) from None
        except UnicodeError:
            raise NotSent("a header holds a character outside ASCII") from None
        except TimeoutError:
            raise AnswerLost(f"no answer within {self._deadline:g} s") from None

    async def _exchange(self, url: str, content: bytes, headers: Mapping[str, str]) -> Answer:
        request = self._client.build_request("POST", url, content=content, headers=dict(headers))
        response = await self._client.send(request, stream=True)
        try:
            body = await _read_capped(response)
        finally:
            await response.aclose()
        return Answer(response.status_code, response.headers, body)

    async def aclose(self) -> None:
        """Close all connections. The client cannot be used afterwards."""
        await self._client.aclose()


async def _read_capped(response: httpx2.Response) -> bytes:
    parts: list[bytes] = []
    room = MAX_ANSWER_BYTES
    async for part in response.aiter_raw():
        parts.append(part[:room])
        room -= len(part)
        if room <= 0:
            break
    return b"".join(parts)


def _refusal(error: Exception) -> NotSent:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, _AddressDenied):
            return AddressRefused(str(cause))
        cause = cause.__cause__ or cause.__context__
    return NotSent(_sentence(error))


def _sentence(error: Exception) -> str:
    """What went wrong in words that never hold the URL."""
    known = {
        httpx2.ConnectTimeout: "the connection was not accepted in time",
        httpx2.PoolTimeout: "all connections are busy",
        httpx2.ReadTimeout: "no answer in time",
        httpx2.WriteTimeout: "the request could not be written in time",
        httpx2.InvalidURL: "the URL is not valid",
        httpx2.UnsupportedProtocol: "the URL does not begin with http:// or https://",
        httpx2.LocalProtocolError: "a header holds a line break or another character that HTTP does not allow",
        httpx2.RemoteProtocolError: "the connection was closed without a valid answer",
        httpx2.ReadError: "the connection was reset before the answer",
        httpx2.WriteError: "the connection was reset while sending",
    }
    return known.get(type(error)) or f"no connection: {error}"


# --- connecting only where we may ------------------------------------------------------------------------------------


class _AddressDenied(httpcore2.ConnectError):
    pass


class _GuardedTransport(httpx2.AsyncHTTPTransport):
    """The library's transport over a pool that resolves names itself and checks what they resolve to."""

    def __init__(self, allowed: AllowList, connections: int) -> None:
        super().__init__(trust_env=False)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=30.0,
            network_backend=_GuardedBackend(allowed),
        )


class _GuardedBackend(httpcore2.AsyncNetworkBackend):
    def __init__(self, allowed: AllowList) -> None:
        self._allowed = allowed
        self._backend = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (the library's signature)
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        if port > _LAST_PORT:
            raise httpcore2.ConnectError(f"there is no port {port}")
        for address in await self._permitted(host, port, timeout):
            try:
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore2.ConnectError as error:
                refused = error
        raise refused

    async def _permitted(self, host: str, port: int, within: float | None) -> list[str]:
        """The addresses of *host*, all of them such as we connect to."""
        try:
            async with asyncio.timeout(within):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(f"the name {host} was not resolved in time") from error
        except (OSError, UnicodeError) as error:  # UnicodeError: a label too long or empty
            raise httpcore2.ConnectError(f"the name {host} cannot be resolved") from error
        addresses = [str(entry[4][0]) for entry in found]
        if not self._allowed.permits_all(host, addresses):
            raise _AddressDenied(
                f"{host} is a loopback, private or reserved address; list it under allow_hosts if that is meant"
            )
        return addresses

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109  (the library's signature)
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        raise httpcore2.ConnectError("unix sockets are not used")

    async def sleep(self, seconds: float) -> Any:
        await self._backend.sleep(seconds)
