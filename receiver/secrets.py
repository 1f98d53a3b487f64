"""References to secrets: what `router.yaml` holds instead of the secrets themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic_core import core_schema

from receiver.exceptions import SecretMissing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

_ENV = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_FILE = re.compile(r"file:(.+)")


@dataclass(frozen=True)
class SecretRef:
    """Where a secret is kept. Safe to print: it names the place and never holds the secret."""

    source: Literal["env", "file"]
    name: str

    @classmethod
    def parse(cls, text: object) -> SecretRef:
        """The reference that *text* writes.

        Raises:
            ValueError: It writes none. The message never repeats *text*, which may be the secret itself.
        """
        if isinstance(text, str):
            if env := _ENV.fullmatch(text):
                return cls("env", env[1])
            if file := _FILE.fullmatch(text):
                return cls("file", file[1])
        # `env: NAME`, with a space, is a mapping.
        remedy = ", without a space after the ':'" if isinstance(text, dict) else ""
        raise ValueError(f"a secret must be a reference: env:NAME or file:/path{remedy}")

    def resolve(self, environ: Mapping[str, str]) -> str:
        """The secret: the variable of *environ*, or the file without its last newline.

        Raises:
            SecretMissing: There is none, or it is empty.
        """
        return _from_environment(self.name, environ) if self.source == "env" else _from_file(Path(self.name))

    def __str__(self) -> str:
        return f"{self.source}:{self.name}"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            lambda value: value if isinstance(value, cls) else cls.parse(value),
            serialization=core_schema.to_string_ser_schema(),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "pattern": f"^({_ENV.pattern}|{_FILE.pattern})$"}


def _from_environment(name: str, environ: Mapping[str, str]) -> str:
    if name not in environ:
        raise SecretMissing(f"the environment variable {name} is not set", "set it where the router is started")
    if not environ[name].strip():
        raise SecretMissing(f"the environment variable {name} is empty", "set it to the secret")
    return environ[name]


def _from_file(path: Path) -> str:
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError as error:
        raise SecretMissing(f"the file {path} does not exist", "create it with the secret as its only line") from error
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise SecretMissing(f"the file {path} cannot be read: {reason}", "let the router's user read it") from error
    except ValueError:  # from None: a decoding error holds the bytes
        raise SecretMissing(f"the file {path} is not text", "write the secret into it as UTF-8 text") from None
    if not text.strip():
        raise SecretMissing(f"the file {path} is empty", "write the secret into it")
    return re.sub(r"\r?\n\Z", "", text)
