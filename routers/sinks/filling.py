"""Templates among the settings of a sink: texts laid out in `router.yaml`, filled with what a message tells."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from receiver.positioned_yaml import Loc
from receiver.secrets import SecretRef
from routers.escapes import Escape, plain
from routers.filters import ZONE
from routers.messages import Message
from routers.sandbox import Compiled, TemplateFailed, View, compile_template
from routers.sinks.config import resolved, written_or_reference

# What these templates may name beside all that a message's template may.
OWN_NAMES: dict[str, str] = {
    "title": "the first line of the message's text",
    "lines": "the other lines, a list",
    "text": "the whole text, with line breaks",
    "timestamp": "when it happened, like 2026-03-10T13:15:02.000Z",
    "key": "the delivery's id, the same in every try",
    "may_repeat": "whether an earlier try may have arrived",
    "link_call": "where a person finds it in CallRail",
    "link_recording": "where a person listens to it",
}
_TEMPLATE = re.compile(r"{[{%#]")


def is_template(value: object) -> bool:
    return isinstance(value, str) and _TEMPLATE.search(value) is not None


def texts_in(loc: Loc, written: object) -> Iterator[tuple[Loc, str]]:
    """The templates in *written* with the place of each."""
    if isinstance(written, Mapping):
        for name, part in written.items():
            yield from texts_in((*loc, name), part)
    elif isinstance(written, list):
        for index, part in enumerate(written):
            yield from texts_in((*loc, index), part)
    elif is_template(written):
        yield loc, str(written)


def compiled(written: Any, escape: Escape, *, has_references: bool = True) -> Any:
    """*written*, with each template in it compiled and, if it *has_references*, each of those resolved."""
    if isinstance(written, Mapping):
        return {name: compiled(part, escape, has_references=has_references) for name, part in written.items()}
    if isinstance(written, list):
        return [compiled(part, escape, has_references=has_references) for part in written]
    if has_references and isinstance(found := written_or_reference(written), SecretRef):
        return resolved(found)
    if not is_template(written):
        return written
    try:
        return compile_template(written, escape)
    except TemplateFailed as error:
        raise ValueError(f"a template cannot be read: {error}") from None


def filled(laid_out: Any, values: Mapping[str, Any]) -> Any:
    """What *laid_out* becomes with *values*. Blanks and line breaks around a text are left out.

    Raises:
        TemplateFailed: A template cannot be computed with these values.
    """
    if isinstance(laid_out, Compiled):
        text, _is_cut = laid_out.write(values, {ZONE: values.get(ZONE)})
        return text.strip()
    if isinstance(laid_out, dict):
        return {name: filled(part, values) for name, part in laid_out.items()}
    if isinstance(laid_out, list):
        return [filled(part, values) for part in laid_out]
    return laid_out


class Values(Mapping[str, Any]):
    """What templates may look at. What CallRail told is put on one line when a template looks at it, not before."""

    def __init__(self, message: Message) -> None:
        text = message.text(plain)
        self._told = message.values()
        self._own = {
            "title": text.title,
            "lines": list(text.lines),
            "text": "\n".join((text.title, *text.lines)),
            "timestamp": message.timestamp,
            "key": message.key,
            "may_repeat": message.may_repeat,
            "link_call": message.links.get("call"),
            "link_recording": message.links.get("recording"),
        }

    def __getitem__(self, name: str) -> Any:
        return self._own[name] if name in self._own else _on_one_line(self._told[name])

    def __iter__(self) -> Iterator[str]:
        return iter({**self._told, **self._own})

    def __len__(self) -> int:
        return len({**self._told, **self._own})


def _on_one_line(value: Any) -> Any:
    """*value* without line breaks and control characters: a caller's name begins no line of its own."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, View):
        return View(_on_one_line(dict(value.fields)))
    if isinstance(value, dict):
        return {name: _on_one_line(part) for name, part in value.items()}
    return [_on_one_line(part) for part in value] if isinstance(value, list) else value
