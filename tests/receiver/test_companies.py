"""Companies and their keys: what router.yaml may say, what becomes of it, and how mistakes are told."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path

import pytest

from receiver.companies import Companies, SigningKey, read_companies
from receiver.exceptions import ConfigError

BAD = Path(__file__).parent / "bad_yaml"
ENVIRON = {"ACME_KEY": "acme-secret", "EMPTY_KEY": "", "INITECH_KEY": "initech-secret", "ACCENT_KEY": "clé"}

REFUSED = {
    "bad_signature_misspelt": [
        "1:16 (bad_signature): expected 'reject' or 'accept', found something else; did you mean 'reject'?"
    ],
    "callrail_id_of_account": [
        (
            "3:18 (companies.acme.callrail_id): a company's id in CallRail begins with COM, "
            "such as COM8154748ae6bd4e278a7cddd38a662f4f"
        )
    ],
    "callrail_id_of_digits": ["3:18 (companies.acme.callrail_id): expected text, found a number; put it in quotes"],
    "capitals_in_company": [
        (
            "2:3 (companies.Acme): a company's name is part of its URL: "
            "1 to 64 small letters, digits, '-' and '_', no '-' or '_' first"
        )
    ],
    "companies_a_list": ["1:12 (companies): expected a block of key: value lines, found a list"],
    "companies_empty": ["1:12 (companies): too few entries: 1 or more wanted, found 0"],
    "company_empty": ["2:8 (companies.acme): expected a block of key: value lines, found nothing"],
    "environment_name_with_dash": [
        "3:20 (companies.acme.signing_keys[0]): a secret must be a reference: env:NAME or file:/path"
    ],
    "keys_under_defaults": [
        "2:3 (companies): there are defaults, but no company; write at least one company",
        ("3:5 (companies.defaults.signing_keys): unknown key 'signing_keys'; allowed here: account, hours, time_zone"),
    ],
    "literal_secret": ["3:20 (companies.acme.signing_keys[0]): a secret must be a reference: env:NAME or file:/path"],
    "literal_secret_of_digits": [
        "3:20 (companies.acme.signing_keys[0]): a secret must be a reference: env:NAME or file:/path",
        "3:41 (companies.acme.signing_keys[1].secret): a secret must be a reference: env:NAME or file:/path",
    ],
    "mistakes_everywhere": [
        "1:16 (bad_signature): expected 'reject' or 'accept', found a number",
        "4:20 (companies.acme.signing_keys[0]): a secret must be a reference: env:NAME or file:/path",
        "5:3 (companies.globex): 'signing_keys' is missing",
        "6:5 (companies.globex.unsgned): unknown key 'unsgned'; did you mean 'unsigned'?",
        (
            "7:3 (companies.Initech): a company's name is part of its URL: "
            "1 to 64 small letters, digits, '-' and '_', no '-' or '_' first"
        ),
        "9:18 (companies.Initech.callrail_id): expected text, found true",
    ],
    "no_companies": ["1:1: 'companies' is missing"],
    "no_signing_key": ["3:19 (companies.acme.signing_keys): too few entries: 1 or more wanted, found 0"],
    "role_not_a_name": [
        ("4:13 (companies.acme.colour): expected text, found a number; put it in quotes"),
    ],
    "secrets_missing": [
        (
            "4:9 (companies.acme.signing_keys[0]): the environment variable ABSENT_KEY is not set; "
            "set it where the router is started"
        ),
        (
            "5:17 (companies.acme.signing_keys[1].secret): the file no/such/file does not exist; "
            "create it with the secret as its only line"
        ),
        "8:20 (companies.globex.signing_keys[0]): the environment variable EMPTY_KEY is empty; set it to the secret",
        (
            "8:35 (companies.globex.signing_keys[1]): the key in env:ACCENT_KEY is not plain ASCII; "
            "copy it from CallRail once more"
        ),
    ],
    "signing_keys_missing": ["2:3 (companies.acme): 'signing_keys' is missing"],
    "signing_keys_not_a_list": ["3:19 (companies.acme.signing_keys): expected a list, found a number"],
    "space_in_reference": [
        (
            "4:9 (companies.acme.signing_keys[0]): a secret must be a reference: env:NAME or file:/path, "
            "without a space after the ':'"
        )
    ],
    "unknown_key": ["3:5 (companies.acme.signign_keys): unknown key 'signign_keys'; did you mean 'signing_keys'?"],
    "unknown_key_of_signing_key": [
        "4:32 (companies.acme.signing_keys[0].untill): unknown key 'untill'; did you mean 'until'?"
    ],
    "unsigned_misspelt": [
        (
            "3:15 (companies.acme.unsigned): expected 'quarantine' or 'accept_form', found something else; "
            "did you mean 'accept_form'?"
        )
    ],
    "until_not_a_day": [
        "4:39 (companies.acme.signing_keys[0].until): 'until' must be a day of the calendar, written like 2026-12-31",
        "5:39 (companies.acme.signing_keys[1].until): 'until' must be a day of the calendar, written like 2026-12-31",
    ],
}


@pytest.mark.parametrize(("name", "sentences"), REFUSED.items(), ids=REFUSED)
def test_a_mistake_is_told_at_its_place_with_a_remedy(name: str, sentences: list[str]) -> None:
    """Each bad file gives exactly these lines, all at once and in file order, and no literal secret is among them."""
    path = BAD / f"{name}.yaml"

    with pytest.raises(ConfigError) as caught:
        read_companies(path, ENVIRON)

    assert str(caught.value).splitlines() == [f"{path}:{sentence}" for sentence in sentences]


TWO_COMPANIES = """\
bad_signature: accept
companies:
  acme:
    callrail_id: COM8154748ae6bd4e278a7cddd38a662f4f
    unsigned: accept_form
    signing_keys:
      - env:ACME_KEY
      - {secret: env:INITECH_KEY, until: 2026-12-31}
  initech_2:
    signing_keys: [env:INITECH_KEY]
rules: of no interest here
"""


def companies_of(tmp_path: Path, text: str) -> Companies:
    path = tmp_path / "router.yaml"
    path.write_text(text)
    return read_companies(path, ENVIRON)


def test_companies_are_found_by_slug_with_their_secrets(tmp_path: Path) -> None:
    """Everything the file says is there, secrets looked up, and other blocks of the file do not matter."""
    companies = companies_of(tmp_path, TWO_COMPANIES)

    acme = companies.get("acme")
    assert acme is not None
    assert (acme.slug, acme.callrail_id) == ("acme", "COM8154748ae6bd4e278a7cddd38a662f4f")
    assert acme.unsigned == "accept_form"
    assert acme.keys == (SigningKey(b"acme-secret"), SigningKey(b"initech-secret", date(2026, 12, 31)))
    assert companies.accept_bad_signature
    assert [company.slug for company in companies] == ["acme", "initech_2"]
    assert companies.get("globex") is None


def test_the_defaults_are_the_careful_ones(tmp_path: Path) -> None:
    """Without a word in the file nothing unproved is taken."""
    companies = companies_of(tmp_path, "companies: {acme: {signing_keys: [env:ACME_KEY]}}\n")

    acme = companies.get("acme")
    assert acme is not None
    assert (acme.unsigned, acme.callrail_id, companies.accept_bad_signature) == ("quarantine", None, False)


@pytest.mark.parametrize(
    ("today", "live"),
    [
        (date(2026, 12, 31), [b"acme-secret", b"initech-secret"]),
        (date(2027, 1, 1), [b"acme-secret"]),
    ],
    ids=["the last day", "the day after"],
)
def test_a_key_lives_through_its_last_day(tmp_path: Path, today: date, live: list[bytes]) -> None:
    """`until` is inclusive, and a key without it never ends."""
    acme = companies_of(tmp_path, TWO_COMPANIES).get("acme")

    assert acme is not None
    assert [key.secret for key in acme.live_keys(today)] == live


def test_nothing_printed_shows_a_secret(tmp_path: Path) -> None:
    """A log line with the companies in it gives no key away, only the fingerprint may be shown."""
    companies = companies_of(tmp_path, TWO_COMPANIES)
    key = SigningKey(b"acme-secret")

    assert "acme-secret" not in f"{companies} {key}"
    assert key.fingerprint == hashlib.sha256(b"acme-secret").hexdigest()[:8]
