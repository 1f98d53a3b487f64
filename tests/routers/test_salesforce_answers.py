"""What Salesforce's answers mean: one table, and reasons that repeat codes and names of fields alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from callrail.answer import Answer
from routers.outcomes import AuthFailed, Gone, Outcome, Rejected, Retry, Uncertain
from routers.sinks.salesforce_answers import DAY_IS_USED_UP, Part, outcome_of_answer, outcome_of_refusal, parts_of
from tests.contract.salesforce_fixtures import salesforce_answer
from tests.contract.test_contract import PRIVATE

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SAID = (
    "No luck with Avery Quill, (404) 555-0123, avery@example.com, token xoxb-secret-abcdefghij at https://x/very-secret"
)


def error(code: str, **more: Any) -> list[dict[str, Any]]:
    return [{"errorCode": code, "message": SAID, **more}]


def answer(status: int, body: Any = None, **headers: str) -> Answer:
    return Answer(status, headers, b"" if body is None else json.dumps(body).encode())


@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        (answer(200), Uncertain),
        (answer(200, {"odd": SAID}), Uncertain),
        (answer(302), Gone),
        (answer(400, SAID), Rejected),
        (answer(400, error("REQUIRED_FIELD_MISSING", fields=["Region__c"])), Rejected),
        (answer(400, error("FIELD_CUSTOM_VALIDATION_EXCEPTION")), Rejected),
        (answer(400, error("UNABLE_TO_LOCK_ROW")), Retry),
        (answer(400, error("INVALID_FIELD")), AuthFailed),
        (answer(400, error("INACTIVE_OWNER_OR_USER")), AuthFailed),
        (answer(400, error("INVALID_CROSS_REFERENCE_KEY", fields=["OwnerId"])), AuthFailed),
        (answer(400, error("SOME_CODE_OF_TOMORROW")), Rejected),
        (answer(401, error("INVALID_SESSION_ID")), AuthFailed),
        (answer(401), AuthFailed),
        (answer(403, error("REQUEST_LIMIT_EXCEEDED")), Retry),
        (answer(403, error("API_DISABLED_FOR_ORG")), AuthFailed),
        (answer(403, error("INVALID_OPERATION_WITH_EXPIRED_PASSWORD")), AuthFailed),
        (answer(401, error("SOME_CODE_OF_TOMORROW")), AuthFailed),
        (answer(403), AuthFailed),
        (answer(404), Gone),
        (answer(404, error("NOT_FOUND")), AuthFailed),
        (answer(409), Rejected),
        (answer(410, error("UNSUPPORTED_API_VERSION")), Gone),
        (answer(410), Gone),
        (answer(414), Retry),
        (answer(429), Retry),
        (answer(500, error("UNKNOWN_EXCEPTION")), Retry),
        (answer(502, SAID), Retry),
        (answer(503, error("SERVER_UNAVAILABLE")), Retry),
    ],
    ids=lambda told: f"{told.status} {told.body[:60].decode()}" if isinstance(told, Answer) else told.__name__,
)
def test_an_answer_means_what_its_code_says(told: Answer, outcome: type[Outcome]) -> None:
    """The code before the status; the reason is one short line, and repeats nothing of what was told."""
    found = outcome_of_answer(told, now=NOW)

    assert type(found) is outcome
    assert found.reason.isprintable()
    assert 0 < len(found.reason) < 300
    assert [part for part in PRIVATE if part in found.reason.lower()] == []


def test_how_long_to_wait_is_obeyed() -> None:
    """Retry-After, with a code and without one."""
    in_a_minute = {"retry-after": "60"}
    outcomes = [
        outcome_of_answer(answer(503, body, **in_a_minute), now=NOW) for body in (error("SERVER_UNAVAILABLE"), None)
    ]

    assert [each.after for each in outcomes if isinstance(each, Retry)] == [timedelta(minutes=1)] * 2


def test_an_org_without_room_burns_no_delivery() -> None:
    """Nothing can be made there until somebody makes room, and then all of it can."""
    refused = Part(400, error("STORAGE_LIMIT_EXCEEDED")).refusal

    assert outcome_of_refusal(refused) == AuthFailed("STORAGE_LIMIT_EXCEEDED: the org's data storage is full")


@pytest.mark.parametrize(
    ("message", "after"),
    [
        ("TotalRequests Limit exceeded.", DAY_IS_USED_UP),
        ("ConcurrentRequests (Concurrent API Requests) Limit exceeded.", timedelta(seconds=30)),
        ("ConcurrentPerOrgLongTxn Limit exceeded", timedelta(seconds=30)),
    ],
)
def test_too_many_requests_make_the_whole_lane_wait(message: str, after: timedelta) -> None:
    """Long where the day's are used up, not long where too many run at once."""
    refused = Part(403, [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": message}]).refusal

    found = outcome_of_refusal(refused)

    assert isinstance(found, Retry)
    assert (found.after, found.whole_lane) == (after, True)


def test_a_field_is_named_wherever_salesforce_names_it() -> None:
    """In a list, or in one of two sentences; what is no name is left out."""
    listed = Part(400, error("STRING_TOO_LONG", fields=["Phone", SAID, 4])).refusal
    column = Part(
        400, [{"errorCode": "INVALID_FIELD", "message": "No such column 'Key__c' on sobject of type Lead"}]
    ).refusal
    said = "Provided external ID field does not exist or is not accessible: Key__c"
    external = Part(404, [{"errorCode": "NOT_FOUND", "message": said}]).refusal

    assert (listed.fields, column.fields, external.fields) == (("Phone",), ("Key__c",), ("Key__c",))
    assert listed.said == "STRING_TOO_LONG (Phone)"


@pytest.mark.parametrize("name", ["duplicateResut", "duplicateResult"])
def test_the_matches_of_a_duplicate_rule_are_read(name: str) -> None:
    """Under the key that Salesforce misspells, and under the one that it may come to one day."""
    body = salesforce_answer("duplicates_detected").body
    body = [{name: body[0]["duplicateResut"], "errorCode": "DUPLICATES_DETECTED", "message": SAID}]

    assert Part(400, body).refusal.matches == ("00Q000000000001AAA",)


@pytest.mark.parametrize(
    "body",
    [None, [], [1], {}, [{"errorCode": 4}], [{"errorCode": "DUPLICATES_DETECTED", "duplicateResut": [1]}], "text"],
    ids=json.dumps,
)
def test_an_error_of_any_shape_is_a_refusal(body: Any) -> None:
    """And no exception."""
    assert isinstance(outcome_of_refusal(Part(400, body).refusal), Rejected)


@pytest.mark.parametrize(
    "told",
    [
        answer(200, {"compositeResponse": [{"httpStatusCode": "200"}]}),
        answer(200, {"compositeResponse": [None]}),
        answer(200, {"compositeResponse": []}),
        answer(200, {"results": {"a": 1}}),
        answer(200, [1]),
        answer(201, {"compositeResponse": [{"httpStatusCode": 200, "body": None}]}),
        Answer(200, {}, b'{"compositeResponse": [{"httpStatusC'),
    ],
    ids=["no number", "nothing", "too few", "no list", "a list", "another status", "cut short"],
)
def test_an_answer_that_is_not_whole_has_no_parts(told: Answer) -> None:
    """What is not understood is not taken for an answer."""
    assert parts_of(told, 1) is None


def test_rows_without_an_id_are_no_rows() -> None:
    """Nor is anything that is no row."""
    rows = [{"Id": "00Q000000000001AAA"}, {"Id": 4}, {"Id": "'; --"}, "row", None]

    assert Part(200, {"records": rows}).rows == rows[:1]
    assert Part(200, {"searchRecords": rows}).rows == rows[:1]
    assert Part(200, None).rows == []
