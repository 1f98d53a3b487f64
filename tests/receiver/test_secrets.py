"""References to secrets: which are taken, what they lead to, and that nothing shows a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from receiver.exceptions import SecretMissing
from receiver.secrets import SecretRef

LITERAL = "5b2c93d1e7f04a68"


class Settings(BaseModel):
    token: SecretRef


@pytest.mark.parametrize("text", ["env:ACME_KEY", "file:/run/secrets/acme", "file:secrets/acme key"])
def test_a_reference_reads_and_prints_alike(text: str) -> None:
    """A model takes it, and its text and JSON are what was written."""
    settings = Settings.model_validate({"token": text})

    assert str(settings.token) == text
    assert settings.model_dump(mode="json") == {"token": text}


@pytest.mark.parametrize(
    "written",
    [
        LITERAL,
        "",
        "env:",
        f"env:{LITERAL}",
        "env:A-B",
        "file:",
        f"ENV:{LITERAL}",
        f"{LITERAL}:x",
        8154748,
        None,
        [LITERAL],
    ],
)
def test_anything_else_is_refused_without_repeating_it(written: object) -> None:
    """What is no reference may be the secret itself, so the error says only what is wanted."""
    with pytest.raises(ValueError, match=r"^a secret must be a reference: env:NAME or file:/path$"):
        SecretRef.parse(written)


def test_a_space_after_the_colon_is_recognised() -> None:
    """`env: NAME` is a mapping to YAML, and the error says how to mend it."""
    with pytest.raises(ValueError, match="without a space after the ':'"):
        SecretRef.parse({"env": "ACME_KEY"})


def test_pydantic_reports_the_refusal() -> None:
    """In a model a literal is a validation error like any other."""
    with pytest.raises(ValidationError, match="a secret must be a reference"):
        Settings.model_validate({"token": LITERAL})


def test_a_reference_that_is_one_already_is_kept() -> None:
    """A model can be built in Python without going through text."""
    token = SecretRef("env", "ACME_KEY")

    assert Settings(token=token).token is token


def test_the_json_schema_tells_the_form() -> None:
    """An editor can underline a literal secret."""
    assert TypeAdapter(SecretRef).json_schema() == {
        "type": "string",
        "pattern": "^(env:([A-Za-z_][A-Za-z0-9_]*)|file:(.+))$",
    }


def test_a_variable_is_looked_up_in_the_environment_given() -> None:
    """The value is taken as it is."""
    assert SecretRef.parse("env:ACME_KEY").resolve({"ACME_KEY": LITERAL}) == LITERAL


@pytest.mark.parametrize(
    ("content", "secret"),
    [(LITERAL, LITERAL), (f"{LITERAL}\n", LITERAL), (f"{LITERAL}\r\n", LITERAL), ("a\nb\n\n", "a\nb\n")],
    ids=["no newline", "newline", "newline of Windows", "only the last newline"],
)
def test_a_file_is_read_without_its_last_newline(tmp_path: Path, content: str, secret: str) -> None:
    """Editors add a newline that is no part of the secret."""
    path = tmp_path / "acme"
    path.write_bytes(content.encode())

    assert SecretRef.parse(f"file:{path}").resolve({}) == secret


def test_a_relative_file_is_found_from_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with every other path on a command line."""
    (tmp_path / "acme").write_text(LITERAL)
    monkeypatch.chdir(tmp_path)

    assert SecretRef.parse("file:acme").resolve({}) == LITERAL


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({}, "the environment variable ACME_KEY is not set; set it where the router is started"),
        ({"ACME_KEY": " "}, "the environment variable ACME_KEY is empty; set it to the secret"),
    ],
    ids=["not set", "empty"],
)
def test_a_missing_variable_is_named_with_a_remedy(environ: dict[str, str], sentence: str) -> None:
    """Absent and empty are different mistakes."""
    with pytest.raises(SecretMissing) as caught:
        SecretRef.parse("env:ACME_KEY").resolve(environ)

    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "the file PATH does not exist; create it with the secret as its only line"),
        (b"\n", "the file PATH is empty; write the secret into it"),
        (b"\xff\xfe", "the file PATH is not text; write the secret into it as UTF-8 text"),
    ],
    ids=["absent", "empty", "binary"],
)
def test_a_missing_file_is_named_with_a_remedy(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    """Absent, empty and unreadable are different mistakes."""
    path = tmp_path / "acme"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(SecretMissing) as caught:
        SecretRef.parse(f"file:{path}").resolve({})

    assert str(caught.value) == sentence.replace("PATH", str(path))


def test_a_directory_is_no_secret(tmp_path: Path) -> None:
    """The system's reason is passed on."""
    with pytest.raises(SecretMissing, match="cannot be read: is a directory"):
        SecretRef.parse(f"file:{tmp_path}").resolve({})
