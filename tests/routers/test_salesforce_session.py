"""A session with Salesforce: asked for once, renewed once, and refused in words that hold no secret."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from callrail.answer import Answer
from callrail.http import HttpClient
from routers.outcomes import AuthFailed, Gone, Outcome, Retry, Uncertain
from routers.sinks.salesforce_session import BySecret, BySignature, Login, Session, Usage
from tests.fakes import destination
from tests.fakes.salesforce import (
    CLIENT_ID,
    CLIENT_SECRET,
    USERNAME,
    FakeSalesforce,
    Limits,
    faults,
    running_salesforce,
)
from tests.fakes.salesforce import Answer as Reply

pytestmark = pytest.mark.anyio

DESCRIBE = "/sobjects/Lead/describe"


@pytest.fixture
async def salesforce() -> AsyncIterator[FakeSalesforce]:
    async with running_salesforce() as running:
        yield running


@pytest.fixture
async def session_of(salesforce: FakeSalesforce) -> AsyncIterator[Callable[..., Session]]:
    client = HttpClient(timeout=timedelta(seconds=2), allow_hosts=["127.0.0.1"])

    def build(login: Login | None = None) -> Session:
        return Session(client, salesforce.base_url, "66.0", login or BySecret(CLIENT_ID, CLIENT_SECRET))

    yield build
    await client.aclose()


def pem_of(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


async def status_of(session: Session) -> int | Outcome:
    answer = await session.ask("GET", DESCRIBE)
    return answer.status if isinstance(answer, Answer) else answer


async def test_many_requests_share_one_session(salesforce: FakeSalesforce, session_of: Callable[..., Session]) -> None:
    """Also those that start at once."""
    session = session_of()

    statuses = await asyncio.gather(*(status_of(session) for _ in range(5)))

    assert statuses == [200] * 5
    assert salesforce.count("token") == 1


async def test_an_expired_session_is_renewed_once(
    salesforce: FakeSalesforce, session_of: Callable[..., Session]
) -> None:
    """By whoever finds out first; the others take the new one."""
    session = session_of()
    await status_of(session)
    salesforce.org.expire_sessions()

    statuses = await asyncio.gather(*(status_of(session) for _ in range(3)))

    assert statuses == [200] * 3
    assert salesforce.count("token") == 2


async def test_a_session_that_is_refused_anew_is_not_asked_for_for_ever(
    salesforce: FakeSalesforce, session_of: Callable[..., Session]
) -> None:
    """The 401 comes back after one renewal."""
    salesforce.always_meets(faults.expired(), to="describe")

    assert await status_of(session_of()) == 401
    assert (salesforce.count("token"), salesforce.count("describe")) == (2, 2)


async def test_an_app_logs_in_by_its_signature(salesforce: FakeSalesforce, session_of: Callable[..., Session]) -> None:
    """As its user, with an assertion that the org checks by the app's certificate."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    salesforce.org.public_key = key.public_key()

    good = session_of(BySignature(CLIENT_ID, USERNAME, pem_of(key), salesforce.base_url))
    other = session_of(BySignature(CLIENT_ID, "nobody@acme.example", pem_of(key), salesforce.base_url))

    assert await status_of(good) == 200
    refused = await status_of(other)
    assert isinstance(refused, AuthFailed)
    assert "invalid_grant" in refused.reason
    assert "nobody" not in refused.reason


@pytest.mark.parametrize("pem", ["no key", pem_of(ec.generate_private_key(ec.SECP256R1()))], ids=["none", "not rsa"])
def test_what_is_no_rsa_key_is_refused_without_being_told(pem: str) -> None:
    """A key of another sort, or something else by mistake."""
    with pytest.raises(ValueError, match="private_key") as raised:
        BySignature(CLIENT_ID, USERNAME, pem, "https://acme.my.salesforce.com")

    assert pem not in str(raised.value)


@pytest.mark.parametrize(
    ("base_url", "audience"),
    [
        ("https://acme.my.salesforce.com", "https://login.salesforce.com"),
        ("https://acme--test.sandbox.my.salesforce.com", "https://test.salesforce.com"),
    ],
)
def test_an_assertion_is_for_where_the_user_logs_in(base_url: str, audience: str) -> None:
    """Another place for a sandbox."""
    key = pem_of(rsa.generate_private_key(public_exponent=65537, key_size=2048))

    assert BySignature(CLIENT_ID, USERNAME, key, base_url)._claims["aud"] == audience


@pytest.mark.parametrize("word", ["temporarily_unavailable", "server_error", "rate_limit_exceeded", "unknown_error"])
async def test_a_session_that_is_not_given_now_is_asked_for_again(
    salesforce: FakeSalesforce, session_of: Callable[..., Session], word: str
) -> None:
    """Salesforce is busy, which nobody has to mend: no alarm."""
    busy = {"error": word, "error_description": "retry your request"}
    salesforce.meets(faults.says(Reply(400, busy)), to="token")
    session = session_of()

    assert await status_of(session) == Retry(f"no session: {word}", whole_lane=True)
    assert await status_of(session) == 200


@pytest.mark.parametrize(
    ("login", "word"),
    [(BySecret(CLIENT_ID, "wrong"), "invalid_client"), (BySecret("wrong", CLIENT_SECRET), "invalid_client")],
    ids=["wrong secret", "wrong app"],
)
async def test_without_a_session_nothing_is_asked(
    salesforce: FakeSalesforce, session_of: Callable[..., Session], login: Login, word: str
) -> None:
    """The lane pauses, and the reason tells the word and what to do."""
    outcome = await status_of(session_of(login))

    assert isinstance(outcome, AuthFailed)
    assert outcome.reason.startswith(f"no session: {word}: ")
    assert "wrong" not in outcome.reason
    assert salesforce.operations == []


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (faults.lost, Retry),
        (faults.reset_before, Retry),
        (faults.failing(503), Retry),
        (faults.html(200), Retry),
        (faults.html(502), Retry),
        (faults.html(404), Gone),
        (faults.wrong_types(), Retry),
    ],
    ids=["lost", "reset", "503", "page", "502", "nothing there", "odd"],
)
async def test_a_session_that_cannot_be_had_now_is_asked_for_later(
    salesforce: FakeSalesforce, session_of: Callable[..., Session], fault: faults.Fault, expected: type[Outcome]
) -> None:
    """A lost answer has done nothing, so it is no matter of doubt."""
    salesforce.always_meets(fault, to="token")

    assert isinstance(await status_of(session_of()), expected)


async def test_a_lost_answer_to_anything_else_is_a_matter_of_doubt(
    salesforce: FakeSalesforce, session_of: Callable[..., Session]
) -> None:
    """What it means is up to who asked."""
    salesforce.meets(faults.lost, to="describe")

    assert isinstance(await status_of(session_of()), Uncertain)


async def test_each_answer_tells_how_much_of_the_allowance_is_used(
    salesforce: FakeSalesforce, session_of: Callable[..., Session]
) -> None:
    """For `sinks test`, and to stop before others who ask the org go without."""
    salesforce.api.limits = Limits(per_day=100)
    session = session_of()

    await status_of(session)

    assert session.usage == Usage(1, 100)


async def test_a_redirect_is_not_followed(session_of: Callable[..., Session], salesforce: FakeSalesforce) -> None:
    """The secret goes to no host that nobody configured."""
    salesforce.destination.behaves(destination.redirect("https://evil.example/"))

    outcome = await status_of(session_of())

    assert isinstance(outcome, Gone)
    assert len(salesforce.destination.requests) == 1
