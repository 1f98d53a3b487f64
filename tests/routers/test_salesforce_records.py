"""Whose record it is at Salesforce, and what of a task may be changed: decided without a request."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from callrail.phones import e164
from routers.sinks.crm import Lead
from routers.sinks.salesforce_answers import Refusal
from routers.sinks.salesforce_people import (
    KEY,
    NAMELESS,
    Person,
    Told,
    by_key,
    by_number,
    choose,
    gaps,
    key_of,
    new_lead,
    without_refused,
)
from routers.sinks.salesforce_queries import begins, cut, quoted
from routers.sinks.salesforce_tasks import Activity, changes, digest, digest_of, new_task
from tests.fakes.salesforce.soql import read_query

PHONE, EMAIL = "+14045550123", "avery@example.com"
AVERY = Lead("ld_1", PHONE, (PHONE,), (EMAIL,))
CONTACT, OTHER, LEAD = "003000000000001AAA", "003000000000002AAA", "00Q000000000001AAA"
Row = dict[str, Any]


def row(record_id: str, **told: Any) -> Row:
    return {"Id": record_id, "IsDeleted": False, "LastModifiedDate": "2026-01-01T00:00:00.000+0000", **told}


LATER = {"LastModifiedDate": "2026-02-01T00:00:00.000+0000"}


# --- who it is -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ([], None),
        ([row(CONTACT, Phone="(404) 555-0123")], CONTACT),
        ([row(CONTACT, MobilePhone="404.555.0123")], CONTACT),
        ([row(CONTACT, Phone="+1 404 555 0123 x12")], CONTACT),
        ([row(CONTACT, Phone="(404) 555-0124")], None),
        ([row(CONTACT, Email="Avery@Example.com")], CONTACT),
        ([row(LEAD, Phone=PHONE, **LATER), row(CONTACT, Phone=PHONE)], CONTACT),
        ([row(CONTACT, Phone=PHONE), row(OTHER, Phone=PHONE, **LATER)], OTHER),
        ([row(CONTACT, Phone=PHONE), row(LEAD, **{KEY: PHONE})], LEAD),
        ([row(CONTACT, Phone=PHONE, IsDeleted=True), row(LEAD, Phone=PHONE)], LEAD),
        ([row(LEAD, **{KEY: PHONE, "IsConverted": True, "ConvertedContactId": CONTACT})], CONTACT),
        ([row(LEAD, Phone=PHONE, IsConverted=True, ConvertedContactId=CONTACT), row(OTHER, Phone=PHONE)], OTHER),
        ([row("001000000000001AAA", Phone=PHONE)], None),
    ],
    ids=[
        *("nobody", "typed", "mobile", "extension", "another number", "e-mail", "contact first", "newest first"),
        *("own key first", "not a deleted one", "a converted lead's contact", "a living one first", "no person"),
    ],
)
def test_the_person_s_record_is_chosen(rows: list[Row], chosen: str | None) -> None:
    """By our key, else a contact, else a lead; the newest of each, and never one of somebody else."""
    found = choose(rows, AVERY).person

    assert (found.id if found is not None else None) == chosen


@pytest.mark.parametrize(("typed", "is_they"), [("(0)821 77592", True), ("call 0821 77593", False)])
def test_whom_a_duplicate_rule_finds_is_compared_by_the_digits_of_the_number(typed: str, *, is_they: bool) -> None:
    """Also where a caller's number has a zero too many."""
    phone = e164("+49 00 821 77592")
    assert phone is not None

    found = choose([row(CONTACT, Phone=typed)], Lead("ld_1", phone, (phone,)), ruled=[CONTACT]).person

    assert (found is not None) == is_they


def test_how_many_others_fit_is_told() -> None:
    """For the reason of the delivery: two records of one number are for a person to merge."""
    assert choose([row(CONTACT, Phone=PHONE), row(OTHER, Phone=PHONE), row(LEAD, Phone=PHONE)], AVERY).others == 2


@pytest.mark.parametrize(
    ("phone", "typed"),
    [("+442079460958", "020 7946 0958"), ("+4930901820", "030 / 90 18 20"), ("+14045550123", "1-404-555-0123")],
)
def test_a_number_of_any_country_is_found_as_people_type_it(phone: str, typed: str) -> None:
    """Searched for in the ways in which one is written, and compared in E.164."""
    lead = Lead("ld_1", phone, (phone,))
    search = by_number(lead)

    assert search is not None
    words = search.partition("{")[2].partition("}")[0].split(" OR ")
    assert "".join(filter(str.isdigit, typed)) in words
    assert choose([row(CONTACT, Phone=typed)], lead).person is not None


def test_a_person_without_number_and_address_has_no_key() -> None:
    """Nobody is searched for, and no lead is made of nothing."""
    assert key_of(Lead("ld_1", None)) is None
    assert key_of(Lead("ld_1", None, (), ("Avery@Example.com",))) == EMAIL
    assert by_number(Lead("ld_1", None, (), (EMAIL,))) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("o'x", r"'o\'x'"), ("a\\", r"'a\\'"), ("a\nb", "'ab'"), ("x' OR Id != '", r"'x\' OR Id != \''")],
)
def test_a_value_in_a_query_is_a_value(text: str, value: str) -> None:
    """Whatever stands in it."""
    assert quoted(text) == value
    assert value in by_key("Lead", Lead("ld_1", None, (), (text,))) or text != text.lower()


@pytest.mark.parametrize(
    ("text", "condition"),
    [("a b", "KEY LIKE 'a b%'"), ("a_b%c", r"KEY LIKE 'a\_b\%c%'"), ("o'x\\", r"KEY LIKE 'o\'x\\%'")],
)
def test_a_beginning_in_a_query_stands_for_itself(text: str, condition: str) -> None:
    """An address may hold an underscore, which would stand for any character."""
    assert begins("KEY", text) == condition
    assert read_query(f"SELECT Id FROM Lead WHERE {condition}").holds({"KEY": f"{text} more"})
    assert not read_query(f"SELECT Id FROM Lead WHERE {condition}").holds({"KEY": f"{text[0]}x{text[2:]}"})


# --- what is filled in -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        (None, None, NAMELESS),
        ("Quill", None, "Quill"),
        ("Avery Jo Quill", "Avery Jo", "Quill"),
        ("A" * 10_000, None, "A" * 79 + "…"),
        ("😀" * 100 + " Quill", "😀" * 19 + "…", "Quill"),
        ("=HYPERLINK(1) <b>Q</b>", "=HYPERLINK(1)", "<b>Q</b>"),
    ],
    ids=["none", "one word", "three words", "10 kB", "emoji", "formula and HTML"],
)
def test_a_new_lead_has_a_name_that_fits(name: str | None, first: str | None, last: str) -> None:
    """And what Salesforce wants of every lead; the key stands in the address."""
    made = new_lead(AVERY, Told(name, {"LeadSource": "Web"}))

    assert (made.get("FirstName"), made["LastName"]) == (first, last)
    assert made | {"Company": "[not provided]", "Phone": PHONE, "Email": EMAIL, "LeadSource": "Web"} == made
    assert KEY not in made


@pytest.mark.parametrize(
    ("told", "filled"),
    [
        ({"LastName": "Typed", KEY: PHONE, "Phone": "x", "Email": "y"}, {}),
        ({"LastName": "Typed"}, {KEY: PHONE, "Phone": PHONE, "Email": EMAIL}),
        ({"LastName": "Typed", "MobilePhone": "404"}, {KEY: PHONE, "Email": EMAIL}),
        (
            {"LastName": NAMELESS, KEY: PHONE, "Phone": "x", "Email": "y"},
            {"FirstName": "Avery", "LastName": "Quill"},
        ),
        ({"FirstName": "Typed", "LastName": NAMELESS, KEY: PHONE, "Phone": "x", "Email": "y"}, {}),
    ],
    ids=["nothing is empty", "all is", "a mobile number is one", "our own word for nobody", "a first name is typed"],
)
def test_only_what_is_empty_is_filled_in(told: Row, filled: Row) -> None:
    """What a person has typed stays."""
    assert gaps(Person(LEAD, row(LEAD, **told)), AVERY, Told("Avery Quill")) == filled


@pytest.mark.parametrize(
    ("held", "refusal", "rest"),
    [
        ({}, Refusal(400, "STRING_TOO_LONG", ("Email",)), {KEY, "Phone"}),
        ({}, Refusal(400, "DUPLICATES_DETECTED"), {KEY}),
        ({}, Refusal(400, "DUPLICATE_VALUE"), {"Phone", "Email"}),
        ({}, Refusal(400, "INVALID_FIELD_FOR_INSERT_UPDATE", ("Email", "Phone")), {KEY}),
        ({}, Refusal(400, "FIELD_CUSTOM_VALIDATION_EXCEPTION"), None),
        ({}, Refusal(400, "INSUFFICIENT_ACCESS_OR_READONLY"), None),
        ({KEY: PHONE, "Phone": PHONE}, Refusal(400, "STRING_TOO_LONG", ("Email",)), None),
    ],
    ids=[
        "a value",
        "a duplicate rule",
        "another's key",
        "rights to fields",
        "a validation rule",
        "a right",
        "the last",
    ],
)
def test_what_was_refused_is_left_and_the_other_gaps_are_filled(
    held: Row, refusal: Refusal, rest: set[str] | None
) -> None:
    """Where it is known what was refused, and there are others; whoever asks again asks for less."""
    person = Person(LEAD, row(LEAD, LastName="Typed", **held))

    less = without_refused(person, AVERY, Told("Avery Quill"), refusal)

    assert (gaps(person, AVERY, less).keys() if less is not None else None) == rest


def test_nothing_is_filled_in_unseen() -> None:
    """Of the contact behind a converted lead only the id is known."""
    assert gaps(Person(CONTACT), AVERY, Told("Avery Quill")) == {}


# --- tasks -----------------------------------------------------------------------------------------------------------

CALL = Activity(
    "CAL1", "Missed call", "Avery\nGoogle Ads", date(2026, 3, 10), "Inbound", 75, "Missed", "005000000000001"
)


def as_created(activity: Activity = CALL, **more: Any) -> Row:
    return row("00T000000000001AAA", CreatedById="us", LastModifiedById="us", **new_task(activity)) | more


def test_a_task_is_created_whole() -> None:
    """With all that holds at its creation only: its subtype and its owner."""
    assert new_task(CALL) == {
        "Subject": "Missed call",
        "Description": "Avery\nGoogle Ads",
        "TaskSubtype": "Call",
        "Status": "Completed",
        "Priority": "Normal",
        "ActivityDate": "2026-03-10",
        "CallType": "Inbound",
        "CallDurationInSeconds": 75,
        "CallDisposition": "Missed",
        "OwnerId": "005000000000001",
    }


LATE = Activity("CAL1", "Call answered", "Avery\nGoogle Ads", date(2026, 3, 10), "Inbound", 80, "Answered")
TRUTH = {"CallDurationInSeconds": 80, "CallDisposition": "Answered"}


@pytest.mark.parametrize(
    ("edited", "written", "changed"),
    [
        ({}, digest_of(CALL), {**TRUTH, "Subject": "Call answered"}),
        ({"Description": "Avery\r\n  Google   Ads "}, digest_of(CALL), {**TRUTH, "Subject": "Call answered"}),
        ({"Subject": "Call her!"}, digest_of(CALL), TRUTH),
        ({"Description": "Spoke to her"}, digest_of(CALL), TRUTH),
        ({}, None, {**TRUTH, "Subject": "Call answered"}),
        ({"LastModifiedById": "a person"}, None, TRUTH),
        (
            {"CallDisposition": "Will call back"},
            digest_of(CALL),
            {"CallDurationInSeconds": 80, "Subject": "Call answered"},
        ),
        ({"Subject": "Call answered", **TRUTH}, digest_of(LATE), {}),
    ],
    ids=[
        *("as we wrote it", "other blanks", "another title", "another text", "not known, untouched"),
        *("not known, touched", "another result", "so already"),
    ],
)
def test_late_truth_changes_what_is_ours(edited: Row, written: str | None, changed: Row) -> None:
    """The words only while they are what we wrote last; owner, day, status and subtype never."""
    assert changes(as_created(**edited), LATE, written=written, who=None) == changed


def test_a_task_without_a_person_gets_one() -> None:
    """And one that has one keeps it, whoever put it there."""
    assert changes(as_created(), CALL, written=None, who=CONTACT) == {"WhoId": CONTACT}
    assert changes(as_created(WhoId=OTHER), CALL, written=None, who=CONTACT) == {}


@pytest.mark.parametrize(
    ("held", "wanted", "is_same"),
    [
        *((87.0, "87", True), (87, "87.0", True), (87.5, "87", False), (0, "", False), (None, "", True)),
        *((True, "True", True), (False, "true", False), (1, True, True), ("a  b", "a b", True), ("87", "87.0", False)),
        ("2026-03-10T13:15:02.000+0000", "2026-03-10T13:15:02.000Z", True),
        ("2026-03-10T13:15:02.000+0000", "2026-03-10T13:15:02.000-04:00", False),
        ("2026-03-10", "2026-03-11", False),
    ],
)
def test_a_field_of_the_settings_is_compared_as_what_it_holds(held: object, wanted: object, *, is_same: bool) -> None:
    """A template writes texts; in which case of letters the settings name the field is no matter."""
    more = {"FIELD__c": wanted}

    changed = changes(as_created(Field__c=held), replace(CALL, more=more), written=digest_of(CALL), who=None)

    assert changed == ({} if is_same else more)


@pytest.mark.parametrize(
    ("text", "most", "cut_to"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("😀😀", 4, "😀😀"),
        ("😀😀😀", 4, "😀…"),
        ("a😀😀", 4, "a😀…"),
        ("a  bcd", 3, "a…"),
    ],
)
def test_a_text_is_cut_between_characters(text: str, most: int, cut_to: str) -> None:
    """As Salesforce counts them, and never in the middle of one."""
    assert cut(text, most) == cut_to


def test_a_digest_is_of_the_words_alone() -> None:
    """An editor that writes other line breaks has changed nothing; a moved word has."""
    assert digest("a b", "c\nd") == digest("a  b", "c\r\nd ")
    assert digest("a", "b c") != digest("a b", "c")
