"""What a key sees and may do, found out without changing anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from callrail.client import CallRail
from callrail.exceptions import AnswerError, CallRailError, Forbidden, NotFound, Rejected
from routers.accounts import OpenAccount, client_of

# Fields that plans differ in (documented: Premium Conversation Intelligence).
PlanField = Literal["transcription", "call_summary", "sentiment", "call_highlights", "lead_score"]
_LOOKED_AT = 100


@dataclass
class Report:
    """What was found. *may_write* and *lacks* are None where it cannot be told; *problem* is why nothing was."""

    name: str
    account_id: str | None = None
    numeric_id: int | None = None
    account_name: str | None = None
    accounts: list[str] = field(default_factory=list)
    companies: int | None = None
    may_write: bool | None = None
    lacks: list[str] | None = None
    recorded_calls: int = 0
    problem: str | None = None

    @property
    def works(self) -> bool:
        """Whether the key is one, and sees the account."""
        return self.problem is None

    def row(self) -> dict[str, Any]:
        """For JSON."""
        return {"works": self.works, **asdict(self)}

    def lines(self) -> Iterator[tuple[str, str]]:
        """For people: a mark and a sentence each."""
        if self.problem is not None:
            yield "✗", self.problem
            return
        yield "✓", f"the key works and sees {_counted(len(self.accounts), 'account')}: {', '.join(self.accounts[:10])}"
        if self.account_id is None:
            yield (
                "•",
                "say which account is meant: give accounts: in router.yaml, or CALLRAIL_ACCOUNT_ID, one of these ids",
            )
            return
        yield "✓", f"{self.account_name}: {self.account_id}, also known as {self.numeric_id}"
        yield "✓", f"{_counted(self.companies or 0, 'company', 'companies')}"
        yield _of_writing(self.may_write)
        yield self._of_plan()

    def _of_plan(self) -> tuple[str, str]:
        if self.lacks is None:
            return "•", "whether the plan shows what is said in calls cannot be told: no recorded call in 30 days"
        if not self.lacks:
            return "✓", "the plan shows what is said in calls"
        looked_at = _counted(self.recorded_calls, "recorded call")
        return "•", f"not told of any of {looked_at}: {', '.join(self.lacks)}; the plan lacks them, or they are empty"


def _of_writing(may_write: bool | None) -> tuple[str, str]:
    if may_write is None:
        return "•", "whether the key may write cannot be told"
    if may_write:
        return "✓", "the key may write"
    return "•", "the key may only read: write access is a switch on the key in CallRail"


def _counted(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


async def examine(account: OpenAccount) -> Report:
    """Ask for what the key sees; a handful of requests, none of which changes anything."""
    report = Report(account.name or f"key of {account.place}")
    try:
        async with client_of(account) as client:
            await _look(client, account.account_id, report)
    except CallRailError as error:
        report.problem = str(error)
    return report


async def _look(client: CallRail, account_id: str | None, report: Report) -> None:
    seen = [each async for each in client.accounts.list(fields=["numeric_id"])]
    report.accounts = [f"{each.name} ({each.id})" for each in seen]
    if account_id is None and len(seen) == 1:
        account_id = seen[0].id
    if account_id is None:
        return
    meant = next((each for each in seen if account_id in (each.id, str(each.numeric_id))), None)
    if meant is None:
        report.problem = (
            f"the key does not see the account {account_id}; it sees {', '.join(report.accounts) or 'none'}"
        )
        return
    report.account_id, report.numeric_id, report.account_name = meant.id, meant.numeric_id, meant.name
    of_account = client.for_account(account_id)
    report.companies = await _count_of_companies(of_account)
    report.may_write = await _may_write(of_account)
    report.lacks, report.recorded_calls = await _lacking(of_account)


async def _count_of_companies(client: CallRail) -> int | None:
    async for page in client.companies.list(per_page=1).pages():
        return page.total
    return None


async def _may_write(client: CallRail) -> bool | None:
    """By a change of nothing in a call that does not exist: refused with 403 to who may not write, else with 404.

    Assumed, since the order of CallRail's checks is not documented; every role may change calls.
    """
    try:
        await client.request("PUT", f"/v3/a/{{account_id}}/calls/CAL{'0' * 32}.json", json={})
    except Forbidden:
        return False
    except (NotFound, Rejected):
        return True
    except AnswerError:
        return None
    return None


async def _lacking(client: CallRail) -> tuple[list[str] | None, int]:
    """The fields that no recorded call of the last 30 days tells, and how many of these calls were looked at."""
    fields: Sequence[PlanField] = get_args(PlanField)
    recorded = []
    async for page in client.calls.list(date_range="last_30_days", fields=fields, per_page=_LOOKED_AT).pages():
        recorded = [call for call in page.rows if call.recording]
        break
    if not recorded:
        return None, 0
    return [name for name in fields if all(not getattr(call, name) for call in recorded)], len(recorded)
