"""What stands in the logs, and what never does."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from callrail.payload import read_payload
from routers.scenarios import SCENARIOS, Posting, Signer
from routers.simulator import SimulatedCompany, play
from tests.fakes.destination import running_destination
from tests.routers.running import KEY, SECRETS, running
from tests.routers.store import opened
from tests.routers.waiting import until
