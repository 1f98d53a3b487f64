"""The fields of rules: what can be told at which transition."""

from __future__ import annotations

import pytest

from callrail.fields import FIELDS, PLACEHOLDERS, FieldType
from callrail.kinds import Family, Kind
from routers.lifecycle import Outcome, Stage
from routers.rules.fields import COMPARING, did_you_mean, fields_at, fields_of, own_fields, told_at
from routers.transitions import Transition

T = Transition
# "Pre-Call" in CallRail's article on webhooks lists these; timestamp is in the bodies themselves.
PRE_CALL = """
    answered call_type customer_city customer_country customer_name customer_phone_number customer_state company_id
    company_name company_resource_id company_time_zone created_at direction duration first_call person_resource_id
    prior_calls resource_id source_name start_time timestamp total_calls tracker_resource_id tracking_phone_number
    voicemail
"""


def test_a_ringing_call_tells_what_callrail_lists_without_placeholders() -> None:
    """A rule cannot ask a ringing call for a recording, nor whether it was answered."""
    told = {name for name in fields_of(T.CALL_RINGING) if name in FIELDS}

    assert told == set(PRE_CALL.split()) - PLACEHOLDERS


def test_a_routed_call_also_tells_where_it_went() -> None:
    """Routing complete adds the business's number, and perhaps tags and attribution."""
    added = fields_of(T.CALL_ROUTED).keys() - fields_of(T.CALL_RINGING).keys()

    assert {"business_phone_number", "tags", "source", "utm_campaign"} <= added
    assert not added & {"recording", "spam", "answered", "duration", "outcome"}


@pytest.mark.parametrize("transition", [T.CALL_ENDED, T.CALL_MISSED, T.CALL_CHANGED, T.OUTBOUND_ANSWERED])
def test_an_ended_call_tells_everything_of_calls(transition: Transition) -> None:
    """Post-call and modified are whole."""
    of_calls = {name for name, field in FIELDS.items() if Family.CALL in field.families} - {"changes"}

    assert {name for name in fields_of(transition) if name in FIELDS} - {"changes"} == of_calls


@pytest.mark.parametrize(
    ("transition", "told", "untold"),
    [
        (T.TEXT_RECEIVED, "content source_number opt_out lead_status", "agent duration customer_phone_number outcome"),
        (T.TEXT_SENT, "content agent", "opt_out form_data"),
        (T.FORM_SUBMITTED, "form_data first_form source contact_name contact_email contact_phone", "content duration"),
        (T.ASSIST_COMPLETED, "answers last_interaction_resource_id", "call_id form_data company_id"),
        (T.ASSIST_ANSWERED, "call_id tracking_number customer_phone_number", "answers answered recording"),
        (T.CALL_CORRECTED, "was_outcome changes outcome", "opt_out"),
        (T.CALL_SPAM, "changes spam", "was_outcome"),
        (T.CALL_ENDED, "outcome stage hours company seen_before", "changes was_outcome"),
        (T.UNKNOWN_RECEIVED, "recording form_data content company", "outcome changes opt_out"),
    ],
)
def test_each_transition_has_its_fields(transition: Transition, told: str, untold: str) -> None:
    """What belongs to another sort of thing cannot be asked."""
    fields = fields_of(transition)

    assert set(told.split()) <= fields.keys()
    assert not set(untold.split()) & fields.keys()


@pytest.mark.parametrize("transition", list(T))
def test_every_field_has_a_meaning_and_its_own_name(transition: Transition) -> None:
    """The reference page is made of them."""
    for name, field in fields_of(transition).items():
        assert field.name == name
        assert field.meaning
        assert field.type in FieldType


def test_every_field_is_told_by_a_webhook_and_somewhere() -> None:
    """A field no webhook tells could never be asked."""
    assert [name for name, field in FIELDS.items() if not field.kinds] == []
    assert [name for name in [*FIELDS, *own_fields()] if not told_at(name)] == []


def test_closed_values_are_those_of_the_life_cycle() -> None:
    """A new outcome or stage can be asked for without a warning."""
    everywhere = fields_at(())

    assert {outcome.value for outcome in Outcome} <= set(everywhere["outcome"].values)
    assert {stage.name.lower() for stage in Stage} <= set(everywhere["stage"].values)


def test_outcomes_are_those_of_the_direction() -> None:
    """An outbound call is answered or unanswered; a rule for both may ask for either's."""
    assert "unanswered" not in fields_of(T.CALL_ENDED)["outcome"].values
    assert "voicemail" not in fields_of(T.OUTBOUND_ANSWERED)["outcome"].values
    assert {"voicemail", "unanswered"} <= set(fields_at([T.CALL_ENDED, T.OUTBOUND_ANSWERED])["outcome"].values)


def test_changes_are_known_where_versions_are_compared() -> None:
    """`changes` and the operators `changed`, `added` and `removed` go together."""
    assert set(told_at("changes")) == COMPARING


@pytest.mark.parametrize(
    ("written", "hint"),
    [("sorce", "did you mean 'source'?"), ("SOURCE", "did you mean 'source'?"), ("zzzz", ""), ("", "")],
)
def test_the_nearest_name_is_suggested(written: str, hint: str) -> None:
    """Whatever its capitals, and nothing if nothing is near."""
    assert did_you_mean(written, ["source", "medium"]) == hint


def test_kinds_of_a_field_are_webhooks_of_its_families() -> None:
    """No field claims to be told by a kind that is not understood."""
    assert not [name for name, field in FIELDS.items() if Kind.UNKNOWN in field.kinds]
