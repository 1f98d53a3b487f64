"""The patterns of `matches`, whose time cannot explode.

RE2 takes time that grows with the length of the text only, whatever the pattern: Python's `re` needs hours for
`(a+)+$` on forty letters. What RE2 cannot do in that time (looking ahead, referring back) it refuses when the rule is
read. Pattern, its compiled size and the text are capped, so that the dearest pattern still ends within a tenth of a
second.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

MAX_PATTERN = 200
MAX_TEXT = 5_000
_MAX_MEMORY = 128 * 1024


class BadPattern(Exception):
    """A pattern that cannot be used; the text says why."""


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Whether the pattern is found in the first 5,000 characters of a text. Capitals are ignored but for `(?-i)`.

    Raises:
        BadPattern: It is too long, too large, or not written as RE2 wants it.
    """
    if len(pattern) > MAX_PATTERN:
        raise BadPattern(f"this pattern has {len(pattern)} characters, at most {MAX_PATTERN} are allowed")
    import re2  # type: ignore[import-untyped]  # only where a rule has a pattern

    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = _MAX_MEMORY
    try:
        search = re2.compile(pattern, options).search
    except (re2.error, UnicodeEncodeError) as error:
        raise BadPattern(f"this pattern cannot be read: {_reason(error)}") from error

    def matches(text: str) -> bool:
        return search(text[:MAX_TEXT].encode("utf-8", "replace")) is not None

    return matches


def _reason(error: Exception) -> str:
    (reason, *_) = error.args
    text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
    if "(?=" in text or "(?!" in text or "(?<" in text:
        return "it looks ahead or behind, which could take for ever"
    if "invalid escape sequence" in text and text[-1:].isdigit():
        return "it refers back to what it found, which could take for ever"
    if "missing" in text:
        return f"a bracket is not closed in {text.partition(': ')[2]}"
    if "invalid repetition size" in text:
        return f"it repeats more than 1,000 times ({text.partition(': ')[2]})"
    if "repetition" in text:
        return f"there is nothing to repeat before {text.partition(': ')[2]}"
    if "too large" in text:
        return "its repetitions make it too large"
    return text
