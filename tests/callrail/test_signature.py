"""CallRail's signature: what it published, what it never published, and what arrives instead."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callrail.signature import matching_key, sign
from tests.callrail.samples import ABSENT, signature_vectors

# Published by CallRail, apidocs.callrail.com, "Validating Payloads". The page wraps the body; the wraps are not signed.
DOCUMENTED_KEY = b"072e77e426f92738a72fe23c4d1953b4"
DOCUMENTED_SIGNATURE = "UZAHbUdfm3GqL7qzilGozGzWV64="
DOCUMENTED_BODY = (
    b'{"answered":false,"business_phone_number":"","call_type":"voicemail","company_id":155920786,'
    b'"company_name":"Boost Marketing","company_time_zone":"America/Los_Angeles",'
    b'"created_at":"2018-02-19T13:41:00.252-05:00","customer_city":"Rochester","customer_country":"US",'
    b'"customer_name":"Kaylah Mills","customer_phone_number":"+12148654559","customer_state":"PA",'
    b'"device_type":"","direction":"inbound","duration":"13","first_call":false,"formatted_call_type":"Voicemail",'
    b'"formatted_customer_location":"Rochester, PA","formatted_business_phone_number":"",'
    b'"formatted_customer_name":"Kaylah Mills","prior_calls":16,'
    b'"formatted_customer_name_or_phone_number":"Kaylah Mills","formatted_customer_phone_number":"214-865-4559",'
    b'"formatted_duration":"13s","formatted_tracking_phone_number":"404-555-8514",'
    b'"formatted_tracking_source":"Google Paid","formatted_value":"--","good_lead_call_id":715587840,'
    b'"good_lead_call_time":"2016-06-17T10:23:33.363-04:00","id":766970532,'
    b'"lead_status":"previously_marked_good_lead","note":"",'
    b'"recording":"https://app.callrail.com/calls/766970532/recording/redirect?access_key=aaaaccccddddeeee",'
    b'"recording_duration":8,"source_name":"Google AdWords","start_time":"2018-02-19T13:41:00.236-05:00",'
    b'"tags":[],"total_calls":17,"tracking_phone_number":"+14045558514","transcription":"","value":"",'
    b'"voicemail":true,"tracker_id":354024023,"keywords":"","medium":"","referring_url":"","landing_page_url":"",'
    b'"last_requested_url":"","referrer_domain":"","conversational_transcript":"","utm_source":"google",'
    b'"utm_medium":"cpc","utm_term":"","utm_content":"","utm_campaign":"Google AdWords","utma":"","utmb":"",'
    b'"utmc":"","utmv":"","utmz":"","ga":"","gclid":"","integration_data":[{"integration":"Webhooks",'
    b'"data":null}],"keywords_spotted":"",'
    b'"recording_player":"https://app.callrail.com/calls/766970532/recording?access_key=aaaabbbbccccdddd",'
    b'"speaker_percent":"","call_highlights":[],"callercity":"Rochester","callercountry":"US",'
    b'"callername":"Kaylah Mills","callernum":"+12148654559","callerstate":"PA","callsource":"google_paid",'
    b'"campaign":"","custom":"","datetime":"2018-02-19 18:41:00","destinationnum":"","ip":"","kissmetrics_id":"",'
    b'"landingpage":"","referrer":"","referrermedium":"","score":1,"tag":"","trackingnum":"+14045558514",'
    b'"timestamp":"2018-02-19T13:41:00.236-05:00"}'
)

OTHER_KEY = b"0f1e2d3c4b5a69788796a5b4c3d2e1f0"


def test_the_published_vector_is_reproduced() -> None:
    """The one example CallRail gives, 2,279 bytes under its key, has the signature it says."""
    assert len(DOCUMENTED_BODY) == 2279
    assert sign(DOCUMENTED_KEY, DOCUMENTED_BODY) == DOCUMENTED_SIGNATURE
    assert matching_key([DOCUMENTED_KEY], DOCUMENTED_BODY, DOCUMENTED_SIGNATURE) == 0


def vectors(sort: str) -> list[Any]:
    found = [pytest.param(vector, id=vector["name"]) for vector in signature_vectors(sort)]
    return found or [pytest.param({}, marks=pytest.mark.skip(reason=ABSENT), id="absent")]


@pytest.mark.parametrize("vector", vectors("valid"))
def test_a_valid_vector_matches(vector: dict[str, Any]) -> None:
    """Every collected vector that must be accepted is, over exactly its bytes."""
    key, body = vector["key"].encode(), vector["body"].encode()

    assert len(body) == vector["body_bytes"]
    assert sign(key, body) == vector["signature"]
    assert matching_key([key], body, vector["signature"]) == 0


@pytest.mark.parametrize("vector", vectors("invalid"))
def test_an_invalid_vector_does_not_match(vector: dict[str, Any]) -> None:
    """Every collected vector that must be refused is: another scheme, another key, other bytes."""
    assert matching_key([vector["key"].encode()], vector["body"].encode(), vector["signature"]) is None


DIGEST = hmac.digest(DOCUMENTED_KEY, DOCUMENTED_BODY, "sha1")

MALFORMED = {
    "empty": "",
    "space": " ",
    "space before": f" {DOCUMENTED_SIGNATURE}",
    "space after": f"{DOCUMENTED_SIGNATURE} ",
    "newline after": f"{DOCUMENTED_SIGNATURE}\n",
    "NUL after": f"{DOCUMENTED_SIGNATURE}\x00",
    "NUL": "\x00",
    "very long": DOCUMENTED_SIGNATURE * 10_000,
    "list of it twice": f"{DOCUMENTED_SIGNATURE}, {DOCUMENTED_SIGNATURE}",
    "list without space": f"{DOCUMENTED_SIGNATURE},{DOCUMENTED_SIGNATURE}",
    "hex": DIGEST.hex(),
    "hex of capitals": DIGEST.hex().upper(),
    "prefix sha1": f"sha1={DOCUMENTED_SIGNATURE}",
    "prefix of Standard Webhooks": f"v1,{DOCUMENTED_SIGNATURE}",
    "in quotes": f'"{DOCUMENTED_SIGNATURE}"',
    "unpadded": DOCUMENTED_SIGNATURE.rstrip("="),
    "padded twice": f"{DOCUMENTED_SIGNATURE}=",
    "other case": DOCUMENTED_SIGNATURE.swapcase(),
    "first half": DOCUMENTED_SIGNATURE[:14],
    "url-safe alphabet of another body": "-_-_bUdfm3GqL7qzilGozGzWV64=",
    "sha256": b64encode(hmac.digest(DOCUMENTED_KEY, DOCUMENTED_BODY, "sha256")).decode(),
    "unkeyed sha1": b64encode(hashlib.sha1(DOCUMENTED_BODY, usedforsecurity=False).digest()).decode(),
    "key decoded from hex": sign(bytes.fromhex(DOCUMENTED_KEY.decode()), DOCUMENTED_BODY),
    "bytes 0x80 to 0xff, as latin-1": bytes(range(0x80, 0x100)).decode("latin-1"),
    "bytes 0x80 to 0xff, as surrogates": bytes(range(0x80, 0x100)).decode("ascii", "surrogateescape"),
    "lone high surrogate": "\ud800",
    "emoji": "🚿" * 28,
    "full-width letters": DOCUMENTED_SIGNATURE.translate({ord("U"): "\N{FULLWIDTH LATIN CAPITAL LETTER U}"}),
    "the digest itself": DIGEST.decode("latin-1"),
}


@pytest.mark.parametrize("given_signature", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_signature_matches_nothing(given_signature: str) -> None:
    """What is not the exact 28 characters is simply not a match: no error, and nothing is made to fit."""
    assert matching_key([DOCUMENTED_KEY], DOCUMENTED_BODY, given_signature) is None


@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_no_text_breaks_the_comparison(text: str) -> None:
    """Whatever a header can hold, also half characters, is compared and found different."""
    assert matching_key([DOCUMENTED_KEY], b"{}", text) is None


@given(st.binary(max_size=300), st.integers(0, 3))
def test_the_key_that_signed_is_named_by_its_position(body: bytes, position: int) -> None:
    """With several live keys it is known which one was used, wherever it stands."""
    keys = [b"first", b"second", DOCUMENTED_KEY, OTHER_KEY]

    assert matching_key(keys, body, sign(keys[position], body)) == position


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_a_signature_proves_one_body_only(body: bytes, other: bytes) -> None:
    """The signature of one body matches another only if it is the same body."""
    assert (matching_key([OTHER_KEY], other, sign(OTHER_KEY, body)) == 0) == (body == other)


def test_without_keys_nothing_matches() -> None:
    """A company whose keys have all ended is proved by nothing, not even by an empty signature."""
    assert matching_key([], b"", "") is None
    assert matching_key([], b"{}", sign(b"", b"{}")) is None
