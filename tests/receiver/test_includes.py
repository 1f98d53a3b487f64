"""`include:`: several files read as one, and each mistake in the file it stands in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from receiver.companies import read_companies
from receiver.exceptions import ConfigError
from receiver.includes import read_with_includes, text_hash

MAIN = """\
include: [clients/*.yaml, more.yaml]
companies:
  acme: {signing_keys: [env:KEY]}
rules:
  - {id: first}
"""


def written(folder: Path, **files: str) -> Path:
    """`router.yaml` in *folder* beside *files*, whose names have `__` for the slash; its path."""
    for name, text in {"router": MAIN, **files}.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder / "router.yaml"


def client(name: str) -> str:
    return (
        f"companies:\n  {name}: {{signing_keys: [env:KEY]}}\nrules:\n  - {{id: of-{name}}}\n  - {{id: more-{name}}}\n"
    )


def test_included_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Blocks are put together and lists continued; a file that two patterns name is read once."""
    main = MAIN.replace("more.yaml", "clients/b.yaml")

    document = read_with_includes(written(tmp_path, router=main, clients__b=client("b"), clients__a=client("a")))

    value: dict[str, Any] = document.value
    assert set(value["companies"]) == {"acme", "a", "b"}
    ids = [rule["id"] for rule in value["rules"]]
    assert ids == ["first", "of-a", "more-a", "of-b", "more-b"]


def test_everything_is_found_in_its_own_file(tmp_path: Path) -> None:
    """With the path it has there."""
    path = written(tmp_path, clients__a=client("a"), more=client("b"))
    document = read_with_includes(path)

    assert str(document.place(("rules", 0, "id"))) == f"{path}:5:10 (rules[0].id)"
    assert str(document.place(("rules", 2, "id"))) == f"{tmp_path}/clients/a.yaml:5:10 (rules[1].id)"
    assert str(document.place(("rules", 3, "id"))) == f"{tmp_path}/more.yaml:4:10 (rules[0].id)"
    assert str(document.key_place(("companies", "b"))) == f"{tmp_path}/more.yaml:2:3 (companies.b)"
    assert document.has(("companies", "a", "signing_keys", 0))
    assert not document.has(("companies", "a", "hours"))
    assert document.character(("companies", "a")) == "{"
    assert str(document.place(("companies", "nobody"))) == f"{path}:3:3 (companies)"
    assert str(document.place(("rules", 9))) == f"{path}:5:3 (rules)"


def test_companies_of_included_files_are_companies(tmp_path: Path) -> None:
    """The intake alone knows them too."""
    path = written(tmp_path, clients__a=client("a"), more=client("b"))

    assert {company.slug for company in read_companies(path, {"KEY": "k"})} == {"acme", "a", "b"}


def test_the_mistakes_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    """A file that is no YAML does not hide those of another."""
    path = written(tmp_path, clients__a="a:\n\tb: c\n", more="include: [x.yaml]\n")

    with pytest.raises(ConfigError) as caught:
        read_with_includes(path)

    assert [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems] == [
        "clients/a.yaml:2:1: a tab; indent with spaces",
        "more.yaml:1:1 (include): an included file cannot include others; name them all in the main file",
    ]


def test_the_hash_follows_the_text_of_each_file(tmp_path: Path) -> None:
    """Stored verdicts name exactly the rules that gave them, wherever those are written."""
    path = written(tmp_path, clients__a=client("a"), more=client("b"))
    before, again = (text_hash(read_with_includes(path)) for _ in range(2))

    (tmp_path / "more.yaml").write_text(client("b") + "# a comment\n")
    document = read_with_includes(path)

    assert before == again != text_hash(document)
    assert len(before) == 16
    assert text_hash(document) != text_hash(document, "a template")
