"""What is probably wrong where a webhook could not be proved, and what to do about it."""

from __future__ import annotations

from receiver.schema import QuarantineReason

_WHAT_TO_CHECK = {
    QuarantineReason.SIGNATURE_WRONG: (
        "its signature fits no key of {company}. Compare the signing key in CallRail (Webhooks > Advanced Settings of "
        "this company) with the one the server started with, and restart the server after a change."
    ),
    QuarantineReason.SIGNATURE_MISSING: (
        "it has no signature. Look whether a proxy in front of the server drops the header Signature, or whether "
        "somebody else than CallRail posted it."
    ),
    QuarantineReason.COMPANY_MISMATCH: (
        "it is signed with a key of {company} and tells of another company. Look whether the URL was pasted at the "
        "right company in CallRail, and whether callrail_id in router.yaml is right."
    ),
    QuarantineReason.COMPANY_UNKNOWN: (
        "the server knows no company '{company}'. Look for a typing mistake in the pasted URL, and restart the server "
        "if the company is new."
    ),
}


def what_to_check(reason: QuarantineReason, company: str) -> str:
    """A few sentences that go on from "it is in quarantine:"."""
    return _WHAT_TO_CHECK[reason].format(company=company)
