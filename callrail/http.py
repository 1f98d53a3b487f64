"""The one HTTP client of the project, and the only module that knows which library it is made of.

It sends a request once: no retry, no redirect, no cookie, no proxy from the environment. What went wrong is told as
`NotSent` (nothing can have happened over there) or `AnswerLost` (anything may have).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import httpcore2
import httpx2

from callrail.addresses import AllowList
from callrail.answer import Answer as Answer
from callrail.answer import Stream as Stream
from callrail.exceptions import AddressRefused, AnswerLost, NoNetwork, NotSent
from callrail.resolving import Resolver

# The pool looks at each of its connections for each request, so its cost a request grows with its size (measured).
MAX_CONNECTIONS = 8
MAX_ANSWER_BYTES = 64 * 1024
_LAST_PORT = 65_535

# At DEBUG it logs the headers of answers, and with a redirect's address the signature in it.
logging.getLogger("httpcore2").setLevel(logging.INFO)

_UNSENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.UnsupportedProtocol,
    httpx2.InvalidURL,
    httpx2.LocalProtocolError,
)


class HttpClient:
    """A long-lived client for one destination.

    Args:
        timeout: Bound on the whole exchange, from connecting to the answer's last byte.
        allow_hosts: Hosts or networks to be reached although they are loopback, private or reserved.
        connections: How many connections it keeps at most.
        ca_file: Certificates (PEM) of an authority to be trusted beside those that everybody trusts.
        max_answer: Bytes of an answer that are read; the rest is left.

    Raises:
        ValueError: *ca_file* cannot be read as certificates.
    """

    def __init__(
        self,
        *,
        timeout: timedelta,
        allow_hosts: Iterable[str] = (),
        connections: int = MAX_CONNECTIONS,
        ca_file: Path | None = None,
        max_answer: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._deadline = timeout.total_seconds()
        self._max_answer = max_answer
        self._backend = _GuardedBackend(AllowList(allow_hosts))
        self._tls = _tls_context(ca_file)
        # The transport alone: a client above it would add what we do not want, redirects, cookies and their cost.
        self._transport = _GuardedTransport(self._backend, self._tls, connections)
        # A bit less for connecting, so that the reason is told and not only that it took too long.
        self._timeout = httpx2.Timeout(self._deadline, connect=self._deadline * 0.8).as_dict()

    async def post(self, url: str, *, content: bytes, headers: Mapping[str, str]) -> Answer:
        """As `request`, with the method POST."""
        return await self.request("POST", url, content=content, headers=headers)

    async def request(
        self,
        method: str,
        url: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        within: float | None = None,
    ) -> Answer:
        """Send one request once.

        Args:
            within: Seconds for the whole exchange, where that is less than the client's timeout.

        Raises:
            NotSent: Nothing left this machine; `AddressRefused` when the address is one we do not connect to,
                `NoNetwork` when our own network is at fault.
            AnswerLost: The request may have arrived, and no whole answer came in time.
        """
        sending = _Sending()
        bound = self._deadline if within is None else min(within, self._deadline)
        with _told_plainly(sending, bound):
            async with asyncio.timeout(bound):
                response = await self._send(method, url, content, headers, sending)
                stream = cast(httpx2.AsyncByteStream, response.stream)
                try:
                    body = await _read_capped(stream, self._max_answer)
                finally:
                    await stream.aclose()
        return Answer(response.status_code, response.headers, body)

    @asynccontextmanager
    async def stream(self, url: str, *, headers: Mapping[str, str] | None = None) -> AsyncIterator[Stream]:
        """GET *url* once, for an answer of any length. The timeout bounds each wait for a piece, not the whole.

        Raises:
            NotSent, AnswerLost: As `request`; also while the pieces are read.
        """
        sending = _Sending()
        with _told_plainly(sending, self._deadline):
            async with asyncio.timeout(self._deadline):
                response = await self._send("GET", url, None, headers, sending)
        stream = cast(httpx2.AsyncByteStream, response.stream)
        try:
            yield Stream(response.status_code, response.headers, self._pieces(stream, sending))
        finally:
            await stream.aclose()

    async def _pieces(self, stream: httpx2.AsyncByteStream, sending: _Sending) -> AsyncIterator[bytes]:
        pieces = aiter(stream)
        while True:
            with _told_plainly(sending, self._deadline):
                async with asyncio.timeout(self._deadline):
                    piece = await anext(pieces, None)
            if piece is None:
                return
            yield piece

    async def reach(self, url: str) -> None:
        """Resolve the host of *url*, connect to it and shake hands; no request leaves.

        Raises:
            NotSent: It cannot be done; why is in the text.
        """
        try:
            where = httpx2.URL(url)
            async with asyncio.timeout(self._deadline):
                await self._connect(where)
        except (httpcore2.ConnectError, httpcore2.ConnectTimeout, *_UNSENT) as error:
            raise _refusal(error) from None
        except TimeoutError:
            raise NotSent("the connection was not accepted in time") from None

    async def _connect(self, where: httpx2.URL) -> None:
        if where.scheme not in _PORTS:
            raise httpx2.UnsupportedProtocol("")
        stream = await self._backend.connect_tcp(where.host, where.port or _PORTS[where.scheme], self._deadline)
        try:
            if where.scheme == "https":
                stream = await stream.start_tls(self._tls, where.host, self._deadline)
        finally:
            await stream.aclose()

    async def _send(
        self, method: str, url: str, content: bytes | None, headers: Mapping[str, str] | None, sending: _Sending
    ) -> httpx2.Response:
        extensions = {"trace": sending.note, "timeout": self._timeout}
        ours = _OUR_HEADERS | dict(headers or {})
        request = httpx2.Request(method, url, content=content, headers=ours, extensions=extensions)
        return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close all connections. The client cannot be used afterwards."""
        await self._transport.aclose()


_PORTS = {"http": 80, "https": 443}
_OUR_HEADERS = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "callrail-router"}


@dataclass(slots=True)
class _Sending:
    """Whether any of a request has left, which a deadline that passes does not tell."""

    has_begun: bool = False

    async def note(self, event: str, _details: Mapping[str, Any]) -> None:
        if event.endswith("send_request_headers.started"):
            self.has_begun = True


@lru_cache(maxsize=8)  # reading the authorities takes longer than all else in making a client
def _tls_context(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise ValueError(f"the file {ca_file} cannot be read as certificates in PEM form") from error
    return context


@contextmanager
def _told_plainly(sending: _Sending, bound: float) -> Iterator[None]:
    """Whatever goes wrong in an exchange, as `NotSent` or `AnswerLost`."""
    try:
        yield
    except _UNSENT as error:
        raise _refusal(error) from None
    except (httpx2.TransportError, httpx2.StreamError) as error:
        raise AnswerLost(_sentence(error)) from None
    except UnicodeError:
        raise NotSent("a header holds a character outside ASCII") from None
    except TimeoutError:
        said = f"within {bound:g} s"
        raise (AnswerLost(f"no answer {said}") if sending.has_begun else NotSent(f"no connection {said}")) from None


def multipart(fields: Mapping[str, str], files: Mapping[str, Path]) -> tuple[bytes, str]:
    """The body of a form with files, and its content type."""
    read = {name: (path.name, path.read_bytes()) for name, path in files.items()}
    request = httpx2.Request("POST", "http://localhost/", data=dict(fields), files=read)
    return request.read(), request.headers["content-type"]


async def _read_capped(stream: httpx2.AsyncByteStream, room: int) -> bytes:
    parts: list[bytes] = []
    async for part in stream:
        parts.append(part[:room])
        room -= len(part)
        if room <= 0:
            break
    return b"".join(parts)


def _refusal(error: Exception) -> NotSent:
    for cause in _causes(error):
        match cause:
            case _AddressDenied():
                return AddressRefused(str(cause))
            case _OurNetwork():
                return NoNetwork(str(cause))
            case ssl.SSLError():
                return NotSent(_tls_sentence(cause))
    return NotSent(_sentence(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


# OpenSSL's X509_V_ERR_ numbers (x509_vfy.h).
_CERTIFICATE_FAULTS = {
    9: "is not valid yet",
    10: "has expired",
    18: "is signed by itself; name it under ca_file if that is meant",
    19: "comes from an authority that is not known here; name it under ca_file if that is meant",
    20: "comes from an authority that is not known here; name it under ca_file if that is meant",
    62: "is for another name",
    64: "is for another address",
}


def _tls_sentence(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        fault = _CERTIFICATE_FAULTS.get(error.verify_code, f"is not accepted: {error.verify_message}")
        return f"no connection: the server's certificate {fault}"
    return "no connection: the server does not speak TLS as we do"


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


class _OurNetwork(httpcore2.ConnectError):
    pass


class _GuardedTransport(httpx2.AsyncHTTPTransport):
    """The library's transport over a pool that resolves names itself and checks what they resolve to."""

    def __init__(self, backend: _GuardedBackend, tls: ssl.SSLContext, connections: int) -> None:
        super().__init__(verify=tls, trust_env=False)  # else it makes a context that nobody uses
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=30.0,
            network_backend=backend,
        )


# No route, no interface, no address of our own, no file descriptor left.
_OURS = {
    errno.ENETUNREACH: "there is no way into the network",
    errno.ENETDOWN: "the network is down",
    errno.EADDRNOTAVAIL: "this machine has no address or port left to connect from",
    errno.EMFILE: "this process has too many files open",
    errno.ENFILE: "this machine has too many files open",
}


class _GuardedBackend(httpcore2.AsyncNetworkBackend):
    def __init__(self, allowed: AllowList) -> None:
        self._allowed = allowed
        self._resolver = Resolver()
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
        failed: list[httpcore2.ConnectError] = []
        for address in await self._permitted(host, port, timeout):
            try:
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore2.ConnectError as error:
                failed.append(_judged(error, address))
        # What one address of theirs refused is theirs, though we may have no way to another (IPv6, mostly).
        raise min(failed, key=lambda error: isinstance(error, _OurNetwork))

    async def _permitted(self, host: str, port: int, within: float | None) -> list[str]:
        """The addresses of *host*, all of them such as we connect to."""
        try:
            async with asyncio.timeout(within):
                found = await self._resolver.look_up(host, port)
        except TimeoutError as error:
            raise _OurNetwork(f"the name {host} was not resolved in time") from error
        except (OSError, UnicodeError) as error:  # UnicodeError: a label too long or empty
            if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
                raise _OurNetwork("no name server answers") from error
            raise httpcore2.ConnectError(f"the name {host} cannot be resolved") from error
        addresses = list(dict.fromkeys(str(address[0]) for _, address in found))
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


def _judged(error: httpcore2.ConnectError, address: str) -> httpcore2.ConnectError:
    """*error*, as `_OurNetwork` where it is ours."""
    number = next((cause.errno for cause in _causes(error) if isinstance(cause, OSError) and cause.errno), None)
    if number in _OURS:
        return _OurNetwork(_OURS[number])
    if number == errno.EHOSTUNREACH and AllowList().permits("", address):
        # Our own router is silent. A private host that cannot be reached may as well be switched off.
        return _OurNetwork("there is no way to the host")
    return error
