"""What a dispatching process does again and again, one line a job."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from datetime import timedelta

from sqlalchemy import Connection

from receiver.clock import Clock
from receiver.exceptions import ConfigError
from receiver.loggers import get_logger
from receiver.quarantine import drop_old_quarantined
from receiver.reverification import verify_untried
from receiver.writer import Writer
from routers.alarms import LOOK_EVERY, watch
from routers.config import Configuration
from routers.lookups.answers import drop_expired
from routers.media.aging import SWEEP_EVERY, ages, sweep
from routers.own_writes import drop_old as drop_old_writes
from routers.periodic import Job
from routers.replaying import replay_job
from routers.retention import RETAIN_EVERY, Retention

_log = get_logger(__name__)


def jobs_of(
    configuration: Configuration,
    writer: Writer,
    clock: Clock,
    hint: Callable[[Collection[str]], None],
) -> list[Job]:
    """All jobs. *hint* tells the lanes of some sinks that there may be something to send."""

    def look(conn: Connection) -> None:
        watch(conn, clock.now(conn))

    def drop_old_of_api(conn: Connection) -> None:
        now = clock.now(conn)
        drop_expired(conn, now)
        drop_old_writes(conn, now)

    audiences = {name: sink.audience for name, sink in configuration.sink_configs.items()}
    media_ages = ages(configuration.media_ages, configuration.retention.of_both)
    retention = Retention(writer, clock, configuration.retention, media_ages)
    return [
        Job("alarms", LOOK_EVERY, lambda: writer.run(look)),
        Job("retention", RETAIN_EVERY, retention.run),
        replay_job(writer, clock, audiences, hint),
        Job("api_age", timedelta(minutes=1), lambda: writer.run(drop_old_of_api)),
        Job("quarantine_age", timedelta(minutes=10), lambda: drop_old_quarantined(writer, clock)),
        *_sweeping_jobs(configuration, writer),
        *_verifying_jobs(configuration, writer),
    ]


def _sweeping_jobs(configuration: Configuration, writer: Writer) -> list[Job]:
    """Removing files that no row knows; each process for itself, for the folder may be its own."""
    folders = configuration.media_folders
    return [Job("media_sweep", SWEEP_EVERY, lambda: sweep(writer, folders), is_shared=False)] if folders else []


def _verifying_jobs(configuration: Configuration, writer: Writer) -> list[Job]:
    """Verifying again what lies in quarantine, where this process knows the keys: to dispatch it needs none."""
    try:
        companies = configuration.companies(os.environ)
    except ConfigError as error:
        _log.warning("quarantine.not_verified_again", reason=str(error.problems[0]))
        return []
    return [Job("quarantine_retry", timedelta(seconds=30), lambda: verify_untried(writer, companies))]
