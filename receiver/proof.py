"""What proves a webhook: a live key of its company, or, where the company says so, that it is an unsigned form.

The intake asks when a request arrives, and again whoever looks at what lies in quarantine: nothing but the company's
settings, and the request as it was received, decides.
"""

from __future__ import annotations

import hashlib

from callrail.payload import read_payload
from callrail.signature import matching_key
from receiver.columns import json_text
from receiver.companies import Company, SigningKey
from receiver.events import ReceivedRequest
from receiver.schema import QuarantineReason

# To be raised when `prove` learns something: all that lies in quarantine is then tried once more.
_VERSION = 1


def prove(company: Company, request: ReceivedRequest, signature: str | None) -> SigningKey | QuarantineReason | None:
    """The key that signed the request, None where this company needs none for it, or why it is not believed.

    A key counts if it was accepted on the day on which the request was *received*, however late it is looked at.
    """
    if signature is None:
        if company.unsigned == "accept_form" and "form" in request.content_type.lower():
            return None if _is_of(company, request) else QuarantineReason.COMPANY_MISMATCH
        return QuarantineReason.SIGNATURE_MISSING
    keys = company.live_keys(request.received_at.date())
    position = matching_key([key.secret for key in keys], request.body, signature)
    if position is None:
        return QuarantineReason.SIGNATURE_WRONG
    return keys[position] if _is_of(company, request) else QuarantineReason.COMPANY_MISMATCH


def mark_of(company: Company) -> str:
    """A short text that differs whenever another setting of *company* could change what `prove` says."""
    keys = sorted((key.fingerprint, str(key.until or "")) for key in company.keys)
    settings = json_text([_VERSION, company.callrail_id, company.unsigned, keys])
    return hashlib.sha256(settings.encode()).hexdigest()[:16]


def _is_of(company: Company, request: ReceivedRequest) -> bool:
    """Whether the company a body names is the one whose key signed it: two keys swapped in a file must be noticed.

    Most bodies hold the expected id, which is found without parsing; some kinds name no company at all.
    """
    if company.callrail_id is None or company.callrail_id.encode() in request.body:
        return True
    if b"company_resource_id" not in request.body:
        return True
    told = read_payload(request.body, request.content_type).fields.get("company_resource_id")
    return told is None or told == company.callrail_id  # equal, but escaped in the body
