"""Proves an installed wheel outside any checkout: help, the demo, and a missed call from the intake to the stdout sink.

Run by the Python of the environment that holds the wheel and nothing else of ours. What it calls is in the first lines.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND = str(Path(sys.executable).with_name("callrail-router"))
HELP = ["--help"]
MIGRATE = ["migrate", "--database-url", "{database_url}"]
SERVE = ["serve", "--config", "{config}", "--database-url", "{database_url}", "--port", "{port}"]
SIMULATE = ["simulate", "missed", "--config", "{config}", "--url", "http://127.0.0.1:{port}", "--speed", "inf"]
DEMO = ["demo", "--once", "--port", "0", "--speed", "2000", "--database-url", "sqlite:///{folder}/demo.db"]
KEYS = {"ACME_KEY": "smoke"}
CONFIG = """
companies: {acme: {signing_keys: [env:ACME_KEY]}}
sinks: {terminal: {type: stdout}}
rules: [{id: missed, when: [call.missed], send: [{to: terminal}]}]
"""
EXPECTED = "missed"  # somewhere in a line of the stdout sink, in any case
DEADLINE = 60.0  # seconds for each wait


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ.update(KEYS)
        port = free_port()
        config = Path(folder, "router.yaml")
        config.write_text(CONFIG, encoding="utf-8")
        values = {"config": config, "database_url": f"sqlite:///{folder}/smoke.db", "port": port, "folder": folder}

        run(HELP, values)
        run(DEMO, values)  # with the example that the wheel holds
        run(MIGRATE, values)
        with subprocess.Popen(arguments(SERVE, values), stdout=subprocess.PIPE, text=True) as server:
            try:
                told = follow(server)
                wait_until(lambda: answers(port), server, "an answer on its port")
                run(SIMULATE, values)
                wait_until(lambda: any(EXPECTED in line.lower() for line in told), server, "the message on stdout")
                server.send_signal(signal.SIGTERM)
                code = server.wait(DEADLINE)
            finally:
                server.kill()
        if code not in (0, -signal.SIGTERM):
            sys.exit(f"serve ended with {code} after SIGTERM")
    print("The wheel works: --help, demo, migrate, serve, simulate, message on stdout, SIGTERM.")


def arguments(template: list[str], values: dict[str, object]) -> list[str]:
    return [COMMAND, *(part.format_map(values) for part in template)]


def run(template: list[str], values: dict[str, object]) -> None:
    """Run the command to its end; a failure ends the smoke test, with its output."""
    command = arguments(template, values)
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=DEADLINE)
    if done.returncode != 0:
        sys.exit(f"{command} ended with {done.returncode}\n{done.stdout}{done.stderr}")


def follow(process: subprocess.Popen[str]) -> list[str]:
    """The lines the process has printed so far; grows in the background, so that its pipe never fills."""
    lines: list[str] = []

    def read() -> None:
        for line in process.stdout or ():
            lines.append(line)

    threading.Thread(target=read, daemon=True).start()
    return lines


def wait_until(holds: Callable[[], bool], server: subprocess.Popen[str], what: str) -> None:
    """Wait until *holds*; end the smoke test when the server ends first or the deadline passes."""
    end = time.monotonic() + DEADLINE
    while not holds():
        if server.poll() is not None:
            sys.exit(f"serve ended with {server.returncode} before {what}")
        if time.monotonic() > end:
            sys.exit(f"waited {DEADLINE:.0f} s in vain for {what}")
        time.sleep(0.05)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
