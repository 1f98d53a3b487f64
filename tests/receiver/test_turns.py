"""Intake has priority, and whatever else has to be written still gets its share."""

from __future__ import annotations

import pytest

from receiver.turns import FLOOD, PAUSE, Turns


def flooded(rate: float, *, seconds: float = 1.0) -> Turns:
    """Webhooks at *rate* a second, one batch each hundredth of a second, until the time *seconds*."""
    turns = Turns()
    for step in range(round(seconds * 100)):
        turns.rows_taken(round(rate / 100), now=(step + 1) / 100)
    return turns


@pytest.mark.parametrize("rate", [0, 100])
def test_without_a_flood_nobody_waits(rate: int) -> None:
    """At a rate far above that of any agency a routing batch follows the one before at once."""
    turns = flooded(rate)
    turns.function_ran(1.0, 1.02)

    assert turns.wait(1.02) <= 0


@pytest.mark.parametrize(("rate", "is_flood"), [(0, False), (FLOOD / 2, False), (3 * FLOOD, True)])
def test_a_flood_is_known_and_soon_over(rate: float, is_flood: bool) -> None:
    turns = flooded(rate)

    assert turns.is_flood(1.0) is is_flood
    assert not turns.is_flood(2.0)


def test_in_a_flood_functions_get_a_quarter_of_the_time() -> None:
    """One that took 10 ms is followed by three times as long for webhooks alone."""
    turns = flooded(3 * FLOOD)
    turns.function_ran(1.0, 1.01)

    assert turns.wait(1.01) == pytest.approx(PAUSE * 0.01)
    assert turns.wait(1.01 + PAUSE * 0.01) == pytest.approx(0)


def test_when_the_flood_is_over_nobody_waits() -> None:
    """A pause that was meant for the flood ends with it."""
    turns = flooded(3 * FLOOD)
    turns.function_ran(1.0, 2.0)

    assert turns.wait(2.0) <= 0
