"""What is sent must be of the types documented; the rest is the resources' own."""

from __future__ import annotations

from typing import Any

from routers.fake_callrail.asking import Refused
from routers.fake_callrail.world import Json

_OBJECTS = {"form_data", "config", "filters", "steps", "call_flow", "pool_numbers"}
_LISTS = {"tags", "company_ids", "field_names", "frequency", "companies", "tracker_ids", "swap_targets", "grab_cookies"}
_TEXTS = {
    *("name", "note", "notes", "type", "state", "color", "role", "email", "first_name", "last_name", "user_id"),
    *("agent_id", "company_id", "tracker_id", "initial_step_id", "alert_type", "content", "media_url", "form_url"),
    *("session_id", "lead_status", "lead_qualification", "customer_name", "replace_tracking_number", "time_zone"),
    *("tag_level", "whisper_message", "campaign_name", "customer_phone_number", "phone_number"),
}


def check(body: Json) -> None:
    """
    Raises:
        Refused: A value is of another type than documented.
    """
    for name, value in body.items():
        if value is not None and not _is_right(name, value):
            raise Refused(400, f"{name} is invalid")


def _is_right(name: str, value: Any) -> bool:
    if name in _OBJECTS:
        return isinstance(value, dict) and (name != "steps" or all(isinstance(step, dict) for step in value.values()))
    if name in _LISTS:
        return isinstance(value, list) and all(isinstance(each, str | int) for each in value)
    if name in _TEXTS:
        return isinstance(value, str)
    return True
