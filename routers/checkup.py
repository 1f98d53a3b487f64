"""What `doctor` looks at. Each look is by itself: one that fails or hangs is a finding and hides no other."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Connection, exc, text
from sqlalchemy.engine import URL

from receiver.database import Database, open_database
from receiver.exceptions import ReceiverError
from receiver.instances import seen_since
from routers.config import Checked, Configuration
from routers.durations import age_of, written_duration
from routers.forgetting import read_erased
from routers.migrate import is_newer, schema_version
from routers.operating import clock_of
from routers.overview import Overview, SinkOverview, overview
from routers.schema import OPEN, SCHEMA_VERSION, DeliveryState
from routers.sizes import written_size
from routers.zones import told_zones

LONGEST_LOOK = timedelta(seconds=10)
ENDS_SOON = timedelta(days=14)
_CLOCKS_DIFFER = timedelta(seconds=2)
LITTLE_SPACE = 1_000_000_000  # bytes
NO_SPACE = 100_000_000
_SINK_BEHIND = timedelta(minutes=15)
_ROUTING_BEHIND = timedelta(minutes=1)
_LOST_SIGHT_FOR = timedelta(days=1)


class Verdict(StrEnum):
    """How bad a finding is. Only a problem needs somebody now."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was *found* of the *subject*, and what to do about it: nothing where all is well."""

    subject: str
    verdict: Verdict
    found: str
    remedy: str = ""


def ok(subject: str, found: str) -> Finding:
    return Finding(subject, Verdict.OK, found)


def warning(subject: str, found: str, remedy: str) -> Finding:
    return Finding(subject, Verdict.WARNING, found, remedy)


def problem(subject: str, found: str, remedy: str) -> Finding:
    return Finding(subject, Verdict.PROBLEM, found, remedy)


Look = Callable[[], Iterator[Finding]]


def look_at(subject: str, look: Look, *, longest: timedelta = LONGEST_LOOK) -> list[Finding]:
    """What *look* finds. If it fails or takes too long, that is one finding more."""
    findings: list[Finding] = []

    def run() -> None:
        try:
            findings.extend(look())
        except exc.DBAPIError as error:
            first_line = str(error.orig).partition("\n")[0]
            findings.append(problem(subject, f"cannot be looked at: {first_line}", "see what is said of the database"))
        except ReceiverError as error:
            findings.append(problem(subject, f"cannot be looked at: {error}", ""))
        except Exception as error:  # its text may hold anything
            findings.append(problem(subject, f"cannot be looked at: {type(error).__name__}", "report this"))

    thread = threading.Thread(target=run, daemon=True)  # one that hangs must not keep the command from ending
    thread.start()
    thread.join(longest.total_seconds())
    if thread.is_alive():
        late = f"no answer within {written_duration(longest)}"
        return [*findings, problem(subject, late, "look whether the database or the disk hangs")]
    return findings


# --- the database ----------------------------------------------------------------------------------------------------


def look_at_database(url: str) -> Iterator[Finding]:
    """Is it there, does it keep what it commits, has it the tables, and is there room."""
    database = open_database(url)
    try:
        if database.is_missing:
            yield problem("database", f"there is no file {database.url.database}", "callrail-router migrate")
            return
        try:
            with database.reading.connect() as conn:
                yield ok("database", f"{_shown(database.url)} answers; {_durability(database, conn)}")
                yield _schema(schema_version(conn))
                yield from _clock(database, conn)
        except exc.DBAPIError as error:
            first_line = str(error.orig).partition("\n")[0]
            yield problem("database", f"{_shown(database.url)} does not answer: {first_line}", "check --database-url")
        if database.is_sqlite:
            yield from _writable(database)
            yield look_at_space("disk", Path(str(database.url.database)).resolve().parent)
    finally:
        database.dispose()


def _shown(url: URL) -> str:
    return (
        str(url.database) if url.get_backend_name() == "sqlite" else f"{url.database} at {url.host or 'this machine'}"
    )


def _durability(database: Database, conn: Connection) -> str:
    if not database.is_sqlite:
        said = conn.execute(text("SHOW synchronous_commit")).scalar_one()
        size = conn.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
        return f"PostgreSQL, synchronous_commit {said}, {written_size(size)}"
    journal = conn.exec_driver_sql("PRAGMA journal_mode").scalar_one()
    size = Path(str(database.url.database)).stat().st_size
    return f"SQLite, journal {journal}, synchronous full, {written_size(size)}"


def _schema(version: str | None) -> Finding:
    if version == SCHEMA_VERSION:
        return ok("schema", f"{version}, which is this version's")
    if is_newer(version):
        found = f"{version}, made by a newer version than this one, which knows {SCHEMA_VERSION}"
        return problem("schema", found, "install the newer version of callrail-router")
    found = f"{version}, older than this version's {SCHEMA_VERSION}" if version else "there are no tables"
    return problem("schema", found, "callrail-router migrate")


def _clock(database: Database, conn: Connection) -> Iterator[Finding]:
    if database.is_sqlite:
        yield ok("clock", "this machine's; keep it right with NTP")
        return
    apart = abs(datetime.now(UTC) - clock_of(database).now(conn))
    words = f"this machine's and the database's are {apart.total_seconds():.1f} s apart"
    yield warning("clock", words, "set both by NTP") if apart > _CLOCKS_DIFFER else ok("clock", words)


def _writable(database: Database) -> Iterator[Finding]:
    """Takes the write lock and lets it go: nothing is written."""
    try:
        with database.writing.connect() as conn:
            conn.begin().rollback()
    except exc.OperationalError as error:
        remedy = "let its user write the file and its folder; if it is locked, look who holds it"
        yield problem("database", f"cannot be written: {str(error.orig).partition(chr(10))[0]}", remedy)


def look_at_space(subject: str, folder: Path) -> Finding:
    """How much room there is in *folder*."""
    free = shutil.disk_usage(folder).free
    words = f"{written_size(free)} free at {folder}"
    if free < NO_SPACE:
        return problem(subject, words, "make room now: soon nothing can be stored")
    return warning(subject, words, "make room, or move it") if free < LITTLE_SPACE else ok(subject, words)


def look_at_spool(folder: Path, database_url: str) -> Iterator[Finding]:
    """Can it be written, is there room, and does it live when the database's disk is full."""
    if not folder.is_dir():
        yield warning("spool", f"there is no folder {folder}", "the server makes it; is this the server's machine?")
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        yield problem("spool", f"{folder} cannot be written", "let the user of the server write it")
    yield look_at_space("spool", folder)
    database = open_database(database_url)
    database.dispose()  # nothing is asked of it
    if not database.is_sqlite or database.is_missing:
        return
    if Path(str(database.url.database)).stat().st_dev == folder.stat().st_dev:
        found = f"{folder} is on the same disk as the database, and is full when that is"
        yield warning("spool", found, "give --spool a folder on another disk")


# --- the configuration -----------------------------------------------------------------------------------------------


def look_at_config(checked: Checked, path: Path) -> Iterator[Finding]:
    """Is the file right, and what in it is surely not meant."""
    for item in checked.problems:
        remedy = f"callrail-router rules check --config {path}" if path.exists() else "name the file with --config"
        yield problem("router.yaml", str(item), remedy)
    for item in checked.warnings:
        yield warning("router.yaml", str(item), "see docs/rules.md")
    if checked.configuration is not None and not checked.warnings:
        count = len(checked.configuration.rules.rules)
        yield ok("router.yaml", f"{path} is right: {count} {'rule' if count == 1 else 'rules'}")


def look_at_secrets(configuration: Configuration, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Are all of them where the file says; read in this shell, which may not be the server's."""
    missing = configuration.missing_secrets(environ)
    for item in missing:
        yield problem("secrets", str(item), "run doctor with the environment of the server")
    if not missing:
        yield ok("secrets", "every key, secret and setting of the sinks can be used")


def look_at_keys(configuration: Configuration, today: date) -> Iterator[Finding]:
    """Has each company a key that is accepted, and for how long."""
    found = False
    for name, company in configuration.company_configs.items():
        ends = [key.until for key in company.signing_keys]
        last = None if None in ends else max(end for end in ends if end is not None)
        if last is not None and last < today:
            found = True
            words = f"the last signing key of {name} ended on {last}: its webhooks go into quarantine"
            yield problem("keys", words, f"add the new key to signing_keys of {name}, and restart the server")
        elif last is not None and last - today <= ENDS_SOON:
            found = True
            words = f"the last signing key of {name} ends on {last}"
            yield warning("keys", words, f"add the next key to signing_keys of {name}, or take its until away")
        if company.unsigned == "accept_form":
            found = True
            words = f"{name} says `unsigned: accept_form`: WHOEVER KNOWS ITS URL CAN INVENT FORMS"
            yield warning("keys", words, "give the company a name that nobody guesses, or take the setting away")
    if not found:
        yield ok("keys", "every company has a signing key that does not end soon, and takes only what is signed")


def look_at_zones(configuration: Configuration, zones: Mapping[str, str]) -> Iterator[Finding]:
    """Is the time zone known wherever a rule asks about the hours."""
    rules = configuration.rules
    lacking = [name for name in sorted(rules.hours) if name not in rules.zones and name not in zones]
    for name in lacking:
        words = f"no time zone of {name} is known, so its hours are not either"
        yield warning("hours", words, f"write time_zone: under {name}; else its first call tells it")
    if rules.hours and not lacking:
        yield ok("hours", "the time zone of every company with hours is known")


# --- what is going on ------------------------------------------------------------------------------------------------


def look_at_traffic(database_url: str, configuration: Configuration | None) -> Iterator[Finding]:
    """Processes, events, quarantine and sinks, as the database has them."""
    database = open_database(database_url)
    try:
        with database.reading.connect() as conn:
            seen = overview(conn, clock_of(database).now(conn))
            yield from _processes(conn, seen)
            yield from _events(seen)
            yield from _quarantine(seen)
            yield from _media(seen)
            if configuration is not None:
                yield from _privacy(conn, configuration)
                yield from look_at_zones(configuration, told_zones(conn))
    finally:
        database.dispose()
    of_sinks = [finding for name, sink in seen.sinks.items() for finding in _sink(name, sink, seen)]
    yield from of_sinks or [ok("sinks", "nothing is dead, uncertain, held or late")]


def _processes(conn: Connection, seen: Overview) -> Iterator[Finding]:
    if not seen.dispatchers:
        yield problem("processes", "no process that routes and sends has a heartbeat", "callrail-router serve")
    alive = {row.id for row in seen.processes}
    for row in seen_since(conn, seen.now - _LOST_SIGHT_FOR):
        if row.id not in alive:
            silent = age_of(seen.now - row.seen_at)
            words = f"{row.role} on {row.host} (pid {row.pid}) has been silent for {silent}"
            yield warning("processes", words, "it was killed or hangs; look there, and start it again if it is missed")
    versions = sorted({row.version for row in seen.processes})
    if len(versions) > 1:
        words = f"they run different versions: {', '.join(versions)}"
        yield warning("processes", words, "finish the upgrade: restart those of the older version")
    if seen.dispatchers:
        yield ok("processes", f"{len(seen.processes)} alive, {seen.dispatchers} of them route and send")


# By default who waits gives up after a quarter of an hour.
_LOOKING_UP_LONG = timedelta(minutes=20)


def _events(seen: Overview) -> Iterator[Finding]:
    if seen.failed:
        words = f"{seen.failed:,} could not be routed in five tries"
        yield problem("events", words, "callrail-router events list --state failed")
    age = timedelta(seconds=seen.age(seen.waiting.oldest))
    if age > _ROUTING_BEHIND:
        words = f"{seen.waiting.count:,} wait to be routed, the oldest for {age_of(age)}"
        yield problem("events", words, "look whether a server with the role all or dispatch runs, and at its log")
    looking_up = timedelta(seconds=seen.age(seen.looking_up.oldest))
    if looking_up > _LOOKING_UP_LONG:
        words = f"{seen.looking_up.count:,} wait for look-ups at CallRail, the oldest for {age_of(looking_up)}"
        yield warning("look-ups", words, "callrail-router accounts test; see docs/lookups.md, on_failure: wait")
    if seen.spooling_since is not None or seen.spooled:
        words = f"{seen.spooled:,} webhooks wait in the spool"
        yield problem("spool", words, "they are safe, but nobody is told of them: look at the database and the log")
    if not seen.failed and age <= _ROUTING_BEHIND:
        yield ok(
            "events", "all are routed" if not seen.waiting.count else f"{seen.waiting.count:,} wait, none for long"
        )


def _quarantine(seen: Overview) -> Iterator[Finding]:
    rows = sum(held.rows for held in seen.held)
    if not rows:
        yield ok("quarantine", "empty")
        return
    most = max(seen.held, key=lambda held: held.rows)
    words = f"{rows:,} could not be proved to come from CallRail, most of {most.company}"
    yield warning("quarantine", words, "look whether its signing key and its URL are right")


# By then CallRail has prepared what it prepares.
_FETCHING_LONG = timedelta(hours=1)


def _media(seen: Overview) -> Iterator[Finding]:
    media = seen.media
    age = timedelta(seconds=seen.age(media.oldest))
    if age > _FETCHING_LONG:
        words = f"{media.pending:,} recordings and media are not fetched yet, the oldest told {age_of(age)} ago"
        why = f" ({media.reason})" if media.reason else ""
        yield warning("media", words + why, "callrail-router media list --state pending; see docs/media.md")
    if media.refused or media.gone:
        words = f"of those of seven days, {media.refused:,} recordings and media were refused, {media.gone:,} given up"
        state = "refused" if media.refused else "gone"
        yield warning("media", words, f"callrail-router media list --state {state}")
    if media.pending and age <= _FETCHING_LONG:
        yield ok("media", f"{media.pending:,} are to be fetched, none for long")


def look_at_media(configuration: Configuration) -> Iterator[Finding]:
    """Can the folders for recordings and media be written, by whoever looks, and is there room."""
    for folder in sorted(configuration.media_folders):
        if not folder.is_dir():
            yield warning("media", f"there is no folder {folder}", "the server makes it; is this the server's machine?")
            continue
        if not os.access(folder, os.W_OK | os.X_OK):
            yield problem("media", f"{folder} cannot be written", "let the user of the server write it")
        if folder.stat().st_mode & 0o077:
            yield warning("media", f"others than its owner may look into {folder}", f"chmod 700 {folder}")
        yield look_at_space("media", folder)


def _privacy(conn: Connection, configuration: Configuration) -> Iterator[Finding]:
    if configuration.privacy is None and (hashes := len(read_erased(conn))):
        words = f"persons were erased ({hashes:,} hashes), and no key is named to know them by: they may come back"
        yield problem("privacy", words, "write privacy: {key: ...} with the key of then, and restart the server")


def _sink(name: str, sink: SinkOverview, seen: Overview) -> Iterator[Finding]:
    if failed := sink.of(DeliveryState.DEAD, DeliveryState.UNCERTAIN):
        words = f"{failed:,} deliveries to {name} are dead or uncertain"
        yield warning("sinks", words, f"callrail-router deliveries causes --sink {name}")
    condition = sink.condition
    if condition is not None and condition.is_held:
        words = f"{name} is held by an operator: {condition.reason}"
        yield warning("sinks", words, f"callrail-router sinks resume {name}")
    elif condition is not None and (condition.is_shut or condition.is_paused(seen.now)):
        words = f"{name} rests: {condition.reason or f'{condition.failures} failures in a row'}"
        yield problem("sinks", words, f"callrail-router sinks test {name}")
    age = timedelta(seconds=seen.age(sink.oldest))
    if age > _SINK_BEHIND:
        words = f"{sink.of(*OPEN):,} deliveries wait for {name}, the oldest for {age_of(age)}"
        yield warning("sinks", words, f"callrail-router deliveries list --sink {name} --state pending")
