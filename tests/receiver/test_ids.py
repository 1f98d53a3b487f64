"""Ids: how they are made, how they sort, and what part of one is enough to name it."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.ids import BadId, Prefix, first_id, id_range, new_id


@pytest.mark.parametrize("prefix", Prefix)
def test_an_id_has_one_written_form(prefix: Prefix) -> None:
    """Two letters for the table and 26 small characters, the same in database, log, URL and on the command line."""
    assert re.fullmatch(rf"{prefix}_[0-9a-v]{{26}}", new_id(prefix))


def test_no_two_tables_share_their_letters() -> None:
    """An id alone tells what it is the id of."""
    assert len({str(prefix) for prefix in Prefix}) == len(Prefix)


def test_ids_sort_as_they_were_made() -> None:
    """Each is later than all before it, also within a millisecond: order of ids is order of receipt."""
    made = [new_id(Prefix.EVENT) for _ in range(20_000)]

    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_threads_never_make_the_same_id() -> None:
    """The event loop and the writer's thread may make ids at once."""
    made: list[list[str]] = [[] for _ in range(4)]
    start = threading.Barrier(4)

    def make(mine: list[str]) -> None:
        start.wait()
        mine.extend(new_id(Prefix.EVENT) for _ in range(2_000))

    threads = [threading.Thread(target=make, args=[mine]) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({one for mine in made for one in mine}) == 8_000


@given(st.integers(0, 26))
def test_an_id_lies_in_the_range_of_each_of_its_beginnings(length: int) -> None:
    """Whoever types the first characters, with the letters in front or not, in capitals or not, finds it."""
    made = new_id(Prefix.EVENT)
    rest = made.removeprefix("ev_")[:length]

    for written in (f"ev_{rest}", rest, f" EV_{rest.upper()} "):
        first, last = id_range(Prefix.EVENT, written)
        assert first <= made <= last


@given(st.text(alphabet="0123456789abcdefghijklmnopqrstuv", min_size=1, max_size=26))
def test_a_range_holds_no_id_that_begins_otherwise(written: str) -> None:
    """The two ends begin as written, so everything between them does."""
    first, last = id_range(Prefix.DELIVERY, written)

    assert first.startswith(f"dl_{written}")
    assert last.startswith(f"dl_{written}")
    assert len(first) == len(last) == len(new_id(Prefix.DELIVERY))


NO_IDS = {
    "another table": "dl_06bq",
    "no table": "xx_06bq",
    "a letter no id has": "ev_06bw",
    "a sign": "ev_06b%",
    "too long": "ev_" + "0" * 27,
    "two prefixes": "ev_ev_06bq",
    "a word": "newest",
    "digits of another script": "ev_\u0660\u0661",
}


@pytest.mark.parametrize("written", NO_IDS.values(), ids=NO_IDS)
def test_what_cannot_be_an_id_is_told_with_its_form(written: str) -> None:
    """A typing error gets a sentence that shows what an id looks like, never an empty result."""
    with pytest.raises(BadId) as caught:
        id_range(Prefix.EVENT, written)

    assert f"'{written}'" in str(caught.value)
    assert "ev_" in str(caught.value)


def test_the_first_id_of_a_moment_lies_between_those_made_before_and_after_it() -> None:
    """So "older than" is a range of ids, whatever table they belong to."""
    before = new_id(Prefix.EVENT)
    moment = datetime.now(UTC) + timedelta(milliseconds=2)

    first = first_id(Prefix.EVENT, moment)
    assert len(first) == len(before)
    assert before < first < first_id(Prefix.EVENT, moment + timedelta(milliseconds=1))
    while datetime.now(UTC) <= moment:
        pass
    assert first < new_id(Prefix.EVENT)
