"""Who is one person: keys, merges and their undoing, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Table, select

from receiver.database import Database
from routers.leads import (
    Found,
    Key,
    KeyKind,
    find_leads,
    forget_leads,
    forget_unused,
    keys_of,
    lead_of,
    merges_of,
    read_lead,
    undo_merge,
)
from routers.privacy import erase, export
from routers.retention import remove_unused_leads
from routers.schema import lead_keys, lead_merges, leads, objects, remote_ids
from routers.searching import search
from tests.routers.store import NOW, FixedClock, opened, put_deliveries, rows_of

PHONE = "+14045550123"
CALL = {"customer_phone_number": "404-555-0123", "person_resource_id": "PER1"}
TABLES: Sequence[Table] = (leads, lead_keys, lead_merges)


def key(written: str) -> Key:
    """`phone +1...` or `email a@b.c`."""
    kind, value = written.split(" ")
    return Key(KeyKind(kind), value)


def told(database: Database, *keys: str, thing: str = "ob_1", company: str = "acme") -> Found:
    """The lead after a thing has told *keys*."""
    with database.writing.begin() as conn:
        return lead_of(conn, company, [key(each) for each in keys], object_id=thing, now=NOW)


@pytest.mark.parametrize(
    ("type_", "fields", "is_sent", "keys"),
    [
        ("call", CALL, False, ["person PER1", f"phone {PHONE}"]),
        ("call", {"customer_phone_number": "+442079460123"}, False, ["phone +442079460123"]),
        ("call", {"customer_phone_number": "anonymous", "person_resource_id": "PER1"}, False, []),
        ("call", {"customer_phone_number": "+266696687", "person_resource_id": "PER1"}, False, []),
        ("call", {"customer_phone_number": "+14045559999", "person_resource_id": "PER1"}, False, []),
        ("call", {"person_resource_id": "PER1"}, False, ["person PER1"]),
        ("call", {"customer_phone_number": 5, "person_resource_id": ""}, False, []),
        ("text", {"source_number": PHONE, "destination_number": "+14045550100"}, False, [f"phone {PHONE}"]),
        ("text", {"source_number": "+14045550100", "destination_number": PHONE}, True, [f"phone {PHONE}"]),
        (
            "text",
            {"source_number": PHONE, "thread_resource_id": "SMT1"},
            False,
            [f"phone {PHONE}", "thread SMT1"],
        ),
        (
            "form",
            {"form_data": {"your-email": "Ann@Example.com", "phone": "(404) 555-0123"}},
            False,
            [f"phone {PHONE}", "email ann@example.com"],
        ),
        ("form", {"form_data": {"email": "ann@example.com"}}, False, ["email ann@example.com"]),
    ],
)
def test_by_what_a_person_is_known(type_: str, fields: dict[str, Any], is_sent: bool, keys: list[str]) -> None:
    assert keys_of(type_, fields, is_sent=is_sent, shared={"+14045559999"}) == tuple(map(key, keys))


def test_what_tells_the_same_key_is_of_the_same_person(database_url: str) -> None:
    with opened(database_url) as database:
        first = told(database, "person PER1", f"phone {PHONE}")
        again = told(database, f"phone {PHONE}", thing="ob_2")
        other = told(database, f"phone {PHONE}", company="globex")

    assert (again.id, again.first_object) == (first.id, "ob_1")
    assert other.id != first.id
    assert first.keys == (key("person PER1"), key(f"phone {PHONE}"))


def test_who_proves_to_be_two_is_merged_into_the_older_and_can_be_split_for_good(database_url: str) -> None:
    with opened(database_url) as database:
        by_phone = told(database, f"phone {PHONE}")
        by_email = told(database, "email a@b.c", thing="ob_2")
        both = told(database, "email a@b.c", f"phone {PHONE}", thing="ob_3")
        assert both.id == by_phone.id
        assert both.family == (by_phone.id, by_email.id)
        assert told(database, "email a@b.c").id == by_phone.id

        with database.writing.begin() as conn:
            (merge,) = merges_of(conn, both.family)
            assert (merge.lead_id, merge.into_id, merge.object_id) == (by_email.id, by_phone.id, "ob_3")
            assert undo_merge(conn, merge.id, now=NOW)
            assert not undo_merge(conn, merge.id, now=NOW)
        assert told(database, "email a@b.c").id == by_email.id
        # The number is the stronger, and the two stay two.
        assert told(database, "email a@b.c", f"phone {PHONE}", thing="ob_4").id == by_phone.id
        assert told(database, "email a@b.c").id == by_email.id


def test_what_was_split_stays_split_when_others_are_forgotten(database_url: str) -> None:
    """The one that was merged had not been told of for long when it was split off."""
    with opened(database_url) as database:
        told(database, f"phone {PHONE}")
        told(database, "email a@b.c")
        both = told(database, "email a@b.c", f"phone {PHONE}")
        later = NOW + timedelta(days=30)
        with database.writing.begin() as conn:
            undo_merge(conn, merges_of(conn, both.family)[0].id, now=later)
        told(database, f"phone {PHONE}")
        with database.writing.begin() as conn:
            forget_unused(conn, before=later, limit=5)
            assert len(find_leads(conn, [key("email a@b.c")])) == 1


def test_whoever_was_merged_into_a_forgotten_lead_goes_with_it(database_url: str) -> None:
    """Also if that happened after somebody looked whom there is to forget."""
    with opened(database_url) as database:
        known = told(database, f"phone {PHONE}").family
        told(database, "email a@b.c")
        told(database, "email a@b.c", f"phone {PHONE}")
        with database.writing.begin() as conn:
            forget_leads(conn, known)
        assert [rows_of(database, table) for table in TABLES] == [[], [], []]
        assert told(database, "email a@b.c").keys == (key("email a@b.c"),)


def test_a_chain_of_merges_ends_at_the_oldest(database_url: str) -> None:
    with opened(database_url) as database:
        one, two, three = (told(database, f"phone +1404555012{n}") for n in range(3))
        told(database, "phone +14045550121", "phone +14045550122")
        assert told(database, "phone +14045550122", "phone +14045550120").family == (one.id, two.id, three.id)
        with database.reading.connect() as conn:
            assert read_lead(conn, three.id).id == one.id
            assert [found.id for found in find_leads(conn, [key("phone +14045550122")])] == [one.id]
            assert find_leads(conn, [key("phone +14045550122")], company="globex") == []


_KEYS = [f"phone +1404555012{n}" for n in range(4)] + [f"email a{n}@b.c" for n in range(4)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sets(st.sampled_from(_KEYS), min_size=1, max_size=3), max_size=8), st.randoms(use_true_random=False))
def test_in_whatever_order_it_is_told_the_same_are_one(database_url: str, things: list[set[str]], dice: Any) -> None:
    shuffled = list(things)
    dice.shuffle(shuffled)
    with opened(database_url) as database:
        assert partition(database, things, "acme") == partition(database, shuffled, "globex") == connected(things)
        with database.writing.begin() as conn:
            for table in TABLES:
                conn.execute(table.delete())


def partition(database: Database, things: Iterable[set[str]], company: str) -> set[frozenset[Key]]:
    found = [told(database, *sorted(thing), company=company).id for thing in things]
    with database.reading.connect() as conn:
        return {frozenset(read_lead(conn, id_).keys) for id_ in found}


def connected(things: Iterable[set[str]]) -> set[frozenset[Key]]:
    groups: list[set[str]] = []
    for thing in things:
        of_it = [group for group in groups if group & thing]
        groups = [group for group in groups if not group & thing] + [thing.union(*of_it)]
    return {frozenset(map(key, group)) for group in groups}


@pytest.mark.anyio
async def test_told_at_once_by_several_it_is_one_person(postgresql_url: str) -> None:
    """Each tells another two keys of the same ring of six, in both orders; nobody waits crosswise."""
    ring = [f"phone +1404555012{n}" for n in range(6)]
    pairs = [(ring[n], ring[(n + 1) % 6]) for n in range(6)] * 4
    with opened(postgresql_url) as database:
        await asyncio.gather(*(asyncio.to_thread(told, database, *pair) for pair in pairs))
        assert {told(database, one).id for one in ring} == {min(row.id for row in rows_of(database, leads))}


def test_who_is_forgotten_leaves_nothing_and_who_is_unused_goes_as_a_family(database_url: str) -> None:
    with opened(database_url) as database:
        told(database, f"phone {PHONE}")
        told(database, "email a@b.c")
        both = told(database, "email a@b.c", f"phone {PHONE}")
        other = told(database, "phone +14045550199")
        with database.writing.begin() as conn:
            assert not forget_unused(conn, before=NOW, limit=5)
            forget_leads(conn, other.family)
        assert len(rows_of(database, leads)) == 2
        with database.writing.begin() as conn:
            assert forget_unused(conn, before=NOW + timedelta(seconds=1), limit=1)
        assert [rows_of(database, table) for table in TABLES] == [[], [], []]
        assert told(database, f"phone {PHONE}").id != both.id


def put_person(database: Database) -> Found:
    """A missed call of a person, whom a CRM has as contact 501, and the call as 701; and somebody else."""
    told(database, "phone +14045550199", thing="ob_other")
    with database.writing.begin() as conn:
        put_deliveries(conn, fields={"customer_phone_number": PHONE, "person_resource_id": "PER1"})
        (call,) = conn.execute(select(objects.c.id)).scalars()
        lead = lead_of(conn, "acme", [key(f"phone {PHONE}")], object_id=call, now=NOW)
        for subject, remote_id in ((lead.id, "501"), (call, "701")):
            conn.execute(remote_ids.insert().values(sink="crm", subject=subject, kind="one", remote_id=remote_id))
    return lead


def test_who_is_erased_is_no_lead_any_more(database_url: str) -> None:
    with opened(database_url) as database:
        lead = put_person(database)
        found = search(database, PHONE)
        told_of = {section: list(rows) for section, rows in export(database, found)}
        assert told_of["leads"] == [
            {
                "id": lead.id,
                "merged_into": lead.id,
                "keys": [{"kind": "phone", "value": PHONE}],
                "remote_ids": [{"sink": "crm", "kind": "one", "remote_id": "501"}],
            }
        ]
        assert found.counts()["leads"] == 1

        erase(database, found, b"k" * 32, clock=FixedClock())
        assert [row.value for row in rows_of(database, lead_keys)] == ["+14045550199"]
        assert rows_of(database, remote_ids) == []


def test_of_whom_nobody_was_told_for_long_is_no_lead_any_more(database_url: str) -> None:
    with opened(database_url) as database:
        put_person(database)
        with database.writing.begin() as conn:
            age = timedelta(days=30)
            assert not remove_unused_leads(conn, age, now=NOW + age)
            assert len(rows_of(database, leads)) == 2
            assert not remove_unused_leads(conn, age, now=NOW + age + timedelta(seconds=1))
        assert [rows_of(database, table) for table in TABLES] == [[], [], []]
        assert [row.remote_id for row in rows_of(database, remote_ids)] == ["701"]  # which says nothing of anybody
