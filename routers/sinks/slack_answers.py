"""What Slack's answers mean. Its words are read first and the status second, for 200 does not mean that all is well.

Source: docs.slack.dev, errors of chat.postMessage and chat.update, and of incoming webhooks (documented where it says
so there; the words of webhooks without a published status are observed).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from callrail.answer import Answer
from routers.outcomes import AuthFailed, Delivered, Gone, Outcome, Rejected, Retry, Uncertain, outcome_of, retry_after

_TAKE_THE_NEW_ONE = "give the router the bot token that the app has now"
_NEW_HOOK = "make a new incoming webhook in Slack"

_REJECTED = dict.fromkeys(
    (
        *("invalid_payload", "user_not_found", "too_many_attachments", "no_text"),
        *("invalid_blocks", "msg_too_long", "msg_blocks_too_long"),
    ),
    "",
) | {"restricted_action": "a setting of the workspace forbids it"}
_AUTH_FAILED = {
    "not_in_channel": "invite the bot to the channel",
    "missing_scope": "add the missing scope to the app and install it again",
    "no_permission": "let the app post, and invite it to the channel",
    "not_authed": _TAKE_THE_NEW_ONE,
    "invalid_auth": _TAKE_THE_NEW_ONE,
    "account_inactive": _TAKE_THE_NEW_ONE,
    "token_revoked": _TAKE_THE_NEW_ONE,
    "token_expired": _TAKE_THE_NEW_ONE,
    "not_allowed_token_type": "a bot token begins with xoxb-",
    "ekm_access_denied": "an administrator has suspended posting",
    "invalid_token": _NEW_HOOK,
    "action_prohibited": "an administrator has forbidden it",
    "posting_to_general_channel_denied": "not everybody may post to this channel; choose another",
}
_GONE = {
    "channel_not_found": "there is no such channel, or it is private and the bot is not in it",
    "is_archived": "the channel is archived",
    "channel_is_archived": "the channel is archived",
    "no_service": _NEW_HOOK,
    "no_service_id": _NEW_HOOK,
    "no_active_hooks": _NEW_HOOK,
    "no_team": "the workspace is no more",
    "team_disabled": "the workspace is disabled",
}
_RETRIED = frozenset({"service_unavailable", "request_timeout", "rollup_error"})
_RATE_LIMITED = frozenset({"ratelimited", "rate_limited"})
_HALF_DONE = frozenset({"internal_error", "fatal_error"})  # may come after a part has succeeded (documented)

# The message to be edited or answered cannot be. Another one may well be posted.
FIRST_IS_LOST = frozenset(
    {
        *("message_not_found", "cant_update_message", "edit_window_closed"),
        *("thread_not_found", "cannot_reply_to_message", "restricted_action_thread_locked"),
        *("channel_not_found", "is_archived", "not_in_channel"),  # the channel it was in, when that was another
    }
)
_WORD = re.compile(r"[a-z][a-z0-9_]{1,79}")
_NEEDED = re.compile(r"[a-z][a-z:.,_]{1,79}")


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the Web API: what it means, Slack's *word* if it refused, what it *told*, the token's *scopes*."""

    outcome: Outcome
    word: str = ""
    told: Mapping[str, Any] = field(default_factory=dict)
    scopes: frozenset[str] | None = None


def read_reply(answer: Answer, *, now: datetime) -> Reply:
    """What the Web API answered. Success is `ok: true`; a status of 200 alone says nothing."""
    told = _object(answer.body)
    listed = answer.headers.get("x-oauth-scopes")
    scopes = frozenset(part.strip() for part in listed.split(",")) if listed is not None else None
    if told.get("ok") is True and 200 <= answer.status < 300:
        return Reply(Delivered("posted", remote_id=_remote_id(told)), "", told, scopes)
    word = _word(told.get("error"))
    outcome = _of_word(word, answer, now)
    if outcome is None:
        is_refusal = word and 200 <= answer.status < 300
        outcome = Rejected(word) if is_refusal else _of_status(answer, now)
    if word == "missing_scope" and (needed := _NEEDED.fullmatch(str(told.get("needed")))):
        outcome = AuthFailed(f"{word}: add {needed[0]} to the app and install it again")
    return Reply(outcome, word, told, scopes)


def read_hook(answer: Answer, *, now: datetime) -> Outcome:
    """What an incoming webhook answered: the text `ok`, or a word."""
    text = answer.body[:200].decode("utf-8", "replace").strip()
    if text == "ok" and 200 <= answer.status < 300:
        return Delivered("posted")
    return _of_word(_word(text), answer, now) or _of_status(answer, now)


def _of_word(word: str, answer: Answer, now: datetime) -> Outcome | None:
    if word in _RATE_LIMITED or answer.status == 429:
        return Retry("rate limited", retry_after(answer.headers, now=now), whole_lane=True)
    if word in _HALF_DONE:
        return Uncertain(word)
    if word in _RETRIED:
        return Retry(word, retry_after(answer.headers, now=now))
    for remedies, kind in ((_REJECTED, Rejected), (_AUTH_FAILED, AuthFailed), (_GONE, Gone)):
        if word in remedies:
            return kind(": ".join(filter(None, (word, remedies[word]))))
    return None


def _of_status(answer: Answer, now: datetime) -> Outcome:
    """For an answer without a word that is known. What else stands in it is not repeated: it may be ours."""
    match answer.status:
        case status if 200 <= status < 300:
            return Uncertain(f"HTTP {status} without an answer of Slack's")
        case 404:
            return Gone("HTTP 404: nothing is at this URL")
        case 409 | 422:
            return Rejected(f"HTTP {answer.status}")
        case status:
            return outcome_of(Answer(status, answer.headers, b""), now=now)


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return told if isinstance(told, dict) else {}


def _word(told: object) -> str:
    return told if isinstance(told, str) and _WORD.fullmatch(told) else ""


def _remote_id(told: Mapping[str, Any]) -> str | None:
    channel, ts = told.get("channel"), told.get("ts")
    return f"{channel}:{ts}" if isinstance(channel, str) and isinstance(ts, str) else None
