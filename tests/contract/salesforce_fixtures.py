"""Answers of our fake Salesforce against answers of the real one, as a public library's tests keep them.

They belong to others and are not part of this project. `CONTRACT_SPECS` names the folder that holds them, as
`salesforce/responses.fixtures.json`; without that variable it is sought in `shared/specs` beside the checkout.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.contract.hubspot_schema import specs_folder
from tests.fakes.salesforce import Answer


@cache
def _load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())["responses"]
    return found


def salesforce_answer(name: str) -> Answer:
    """One answer by its name; where none can be had, the test that asks is skipped."""
    path = specs_folder() / "salesforce" / "responses.fixtures.json"
    if not path.exists():
        pytest.skip(f"no answers of Salesforce at {path}; CONTRACT_SPECS names the folder that holds them")
    found = _load(path)[name]
    return Answer(found["status"], found["body"])


def differences(ours: Any, theirs: Any, where: str = "body") -> list[str]:
    """Where *ours* lacks what *theirs* has, or has it in another form; the values are beside the point."""
    if isinstance(theirs, dict):
        if not isinstance(ours, dict):
            return [f"{where} is no object"]
        missing = [f"{where}.{name} is missing" for name in theirs if name not in ours]
        return missing + [
            each for name in theirs.keys() & ours.keys() for each in differences(ours[name], theirs[name], name)
        ]
    if isinstance(theirs, list):
        if not isinstance(ours, list) or bool(ours) is not bool(theirs):
            return [f"{where} is no list of the kind"]
        return [each for part in ours for each in differences(part, theirs[0], f"{where}[]")]
    return [] if type(ours) is type(theirs) else [f"{where} is {type(ours).__name__}, not {type(theirs).__name__}"]
