"""The table of CallRail's fields against the bodies we have: each kind tells what the table says it can."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from callrail.fields import FIELDS, OPINIONS, PLACEHOLDERS
from callrail.kinds import Kind
from callrail.payload import read_payload
from routers.simulator import Story, life_cycle
from tests.callrail.samples import ABSENT, SAMPLES, as_sent
from tests.callrail.test_kinds import POSTED_AS


def against_the_table(kind: Kind, body: bytes) -> list[str]:
    """One sentence for each field of *body* that the table does not let *kind* tell, or not with that value."""
    told = read_payload(body).fields
    known = [(FIELDS[name], value) for name, value in told.items() if name in FIELDS]
    return [f"{kind} tells {field.name}" for field, _ in known if kind not in field.kinds] + [
        f"{field.name} is {value}" for field, value in known if field.values and value and value not in field.values
    ]


@pytest.mark.skipif(not SAMPLES.exists(), reason=ABSENT)
@pytest.mark.parametrize(("name", "kind"), POSTED_AS.items(), ids=POSTED_AS)
def test_a_sample_tells_what_the_table_lets_its_kind_tell(name: str, kind: Kind) -> None:
    """Documented and live bodies hold no field that a rule would be refused."""
    assert against_the_table(kind, as_sent(name)) == []


@pytest.mark.parametrize("story", list(Story))
def test_the_simulator_tells_what_the_table_lets_its_kinds_tell(story: Story) -> None:
    """What can be tried with simulated webhooks can be asked in a rule, and the other way round."""
    told = life_cycle(
        story,
        rng=random.Random(1),
        started_at=datetime(2026, 3, 10, 18, 0, tzinfo=UTC),
        callrail_id="COM019",
        company_name="Acme",
    )

    assert [line for posting in told for line in against_the_table(Kind(posting.kind), posting.body)] == []


def test_opinions_are_told_by_full_objects() -> None:
    """Pre-call and voice assist are partial; what they say replaces no opinion. The name is caller ID at first."""
    partial = {name for name in OPINIONS if FIELDS[name].kinds & {Kind.PRE_CALL, Kind.VOICE_ASSIST}}

    assert partial == {"customer_name"}


def test_placeholders_are_fields_of_ringing_calls() -> None:
    """What says nothing while a call rings is told while it rings."""
    assert [name for name in PLACEHOLDERS if Kind.PRE_CALL not in FIELDS[name].kinds] == []
