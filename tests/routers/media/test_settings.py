"""`fetch_media` as it may be written, and what is said of what may not."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from routers.checkup import look_at_media
from routers.config import check_config
from routers.media.settings import MediaConfig

FILE = """\
accounts:
  main: {{account_id: ACC1, api_key: env:KEY, fetch_media: {written}}}
  other: {{account_id: ACC2, api_key: env:OTHER_KEY}}
companies:
  acme: {{signing_keys: [env:ACME_KEY], account: main}}
  globex: {{signing_keys: [env:ACME_KEY], account: other}}
retention: {{transcripts: 90d, numbers: 60d}}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "router.yaml"
    path.write_text(FILE.format(written=text))
    return path


@pytest.mark.parametrize(
    ("text", "age"),
    [("true", timedelta(days=60)), ("{}", timedelta(days=60)), ("{keep_for: 400d}", timedelta(days=400))],
)
def test_it_holds_for_the_companies_of_the_account(tmp_path: Path, text: str, age: timedelta) -> None:
    configuration = check_config(written(tmp_path, text)).configuration

    assert configuration is not None
    assert configuration.media_ages == {"acme": age}
    assert configuration.fetched_of("other") == []
    assert configuration.media_folders == {Path("callrail-router-media").resolve()}


def test_false_is_as_if_nothing_were_written(tmp_path: Path) -> None:
    configuration = check_config(written(tmp_path, "false")).configuration

    assert configuration is not None
    assert configuration.media_ages == {}
    assert configuration.media_folders == set()


def test_doctor_looks_at_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "media"
    configuration = check_config(written(tmp_path, f"{{folder: '{folder}'}}")).configuration
    assert configuration is not None
    assert [finding.found for finding in look_at_media(configuration)] == [f"there is no folder {folder}"]

    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    assert next(finding.found for finding in look_at_media(configuration)) == (
        f"others than its owner may look into {folder}"
    )
    folder.chmod(0o700)
    (finding,) = look_at_media(configuration)
    assert f"free at {folder}" in finding.found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{max_size: 25}", "write a number and a unit, like 500KB or 25MB, up to 2GB"),
        ("{max_size: 3GB}", "write a number and a unit, like 500KB or 25MB, up to 2GB"),
        ("{max_size: 0MB}", "write a number and a unit, like 500KB or 25MB, up to 2GB"),
        ("{types: [mp3]}", "write one like audio/mpeg, or all of a sort like audio/*"),
        ("{types: []}", "types"),
        ("{keep_for: 1h}", "this must be 1d or longer"),
        ("{hosts: ['https://files.example.com/']}", "write one like files.example.com"),
        ("{hosts: [com]}", "write one like files.example.com"),
        ("{fodler: /x}", "folder"),
        ("yes please", "write true or false, or a block that says how"),
        ("3", "write true or false, or a block that says how"),
    ],
)
def test_what_may_not_be_written_is_told_at_its_place(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = check_config(written(tmp_path, text)).problems

    assert problem in str(found)
    assert found.where is not None
    assert found.where.line == 2


def test_a_type_is_one_or_all_of_a_sort() -> None:
    config = MediaConfig(types=("audio/mpeg", "image/*"))

    assert [config.allows(each) for each in ("audio/mpeg", "audio/wav", "image/png", "imagex/png")] == [
        *(True, False, True, False)
    ]
