"""What CallRail answers, as models that are as lenient as its API is loose.

Every field may be missing, unknown ones are kept, and a value of another type than documented never fails a request:
numbers and truth values are also read from text, and what does not fit at all is None in its field. `told` holds the
object word for word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetPydanticSchema, PrivateAttr, model_validator
from pydantic_core import CoreSchema, core_schema, to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import ModelWrapValidatorHandler

    from callrail.request import Request


def _none_if_misfit(kind: Any, schema_of: Callable[[Any], CoreSchema]) -> CoreSchema:
    return core_schema.with_default_schema(schema_of(kind), default=None, on_error="default")


lenient = GetPydanticSchema(_none_if_misfit)


def _empty_if_misfit(kind: Any, schema_of: Callable[[Any], CoreSchema]) -> CoreSchema:
    return core_schema.with_default_schema(schema_of(kind), default="", on_error="default")


def _aware(told: datetime | None) -> datetime | None:
    return told.replace(tzinfo=UTC) if told is not None and told.tzinfo is None else told


def _amount(told: object) -> object:
    return told.replace("$", "").replace(",", "") if isinstance(told, str) else told


def _names(told: object) -> object:
    """Tags are told as names (documented) or as objects with a name (observed)."""
    if not isinstance(told, list):
        return told
    names = (tag.get("name") if isinstance(tag, dict) else tag for tag in told)
    return [name for name in names if name is not None]


def _one_text(told: object) -> object:
    if not isinstance(told, list):
        return told
    return "\n".join(each if isinstance(each, str) else to_json(each).decode() for each in told)


# An object's own id; a str, so that it can be handed to the next operation, which refuses an empty one.
Id = Annotated[str, GetPydanticSchema(_empty_if_misfit)]
Text = Annotated[str | None, lenient]
Number = Annotated[int | None, lenient]
Fraction = Annotated[float | None, lenient]
Flag = Annotated[bool | None, lenient]
Texts = Annotated[list[str] | None, lenient]
Object = Annotated[dict[str, Any] | None, lenient]
Objects = Annotated[list[dict[str, Any]] | None, lenient]
# "$250.00" as sent, 250 as documented.
Amount = Annotated[Decimal | None, BeforeValidator(_amount), lenient]
TagNames = Annotated[list[str] | None, BeforeValidator(_names), lenient]
# Text in lists, an array in single answers.
Joined = Annotated[str | None, BeforeValidator(_one_text), lenient]


def _moment(kind: Any, schema_of: Callable[[Any], CoreSchema]) -> CoreSchema:
    return _none_if_misfit(kind, lambda told: core_schema.no_info_after_validator_function(_aware, schema_of(told)))


# Aware; UTC where CallRail told no offset, which it is not known to do.
Moment = Annotated[datetime | None, GetPydanticSchema(_moment)]


class Model(BaseModel):
    """Something CallRail told.

    What it did not tell is None, an object's own id ""; what this version does not know, or reads only when it is asked
    for, is in `model_extra` as it was told.

    After a `dry_run` nothing was told: `planned` holds the request that was not sent.
    """

    model_config = ConfigDict(extra="allow", frozen=True, coerce_numbers_to_str=True, defer_build=True)

    _told: Mapping[str, Any] = PrivateAttr(default_factory=dict)
    _planned: Request | None = PrivateAttr(default=None)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_told(cls, told: Any, read: ModelWrapValidatorHandler[Model]) -> Model:
        model = read(told)
        if isinstance(told, dict):
            model._told = told
        return model

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Its id alone: the rest is of persons, or may be a secret."""
        own = getattr(self, "id", None)
        return [("id", own)] if own else []

    @property
    def told(self) -> Mapping[str, Any]:
        """The object as CallRail told it, word for word."""
        return self._told

    @property
    def planned(self) -> Request | None:
        """The request that `dry_run=True` kept back; None for everything that was really answered."""
        return self._planned


class Deleted(Model):
    """The answer to a deletion."""
