"""nginx and Caddy as real processes, with the files of examples/deploy and nothing in them changed but places."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from callrail.signature import sign
from tests.routers.running import KEY
from tests.routers.waiting import LONGEST, wait_until

DEPLOY = Path(__file__).parent.parent / "examples" / "deploy"
OLDEST_CADDY = (2, 7)

_NGINX = """\
daemon off;
{user}
pid {folder}/nginx.pid;
events {{}}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


@dataclass(frozen=True)
class Proxy:
    """One that runs. *folder* holds all that it logs."""

    port: int
    tls: ssl.SSLContext
    folder: Path

    def ask(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> int:
        """The status of the answer, which may come before all of *body* is sent."""
        connection = http.client.HTTPSConnection("localhost", self.port, context=self.tls, timeout=LONGEST)
        try:
            connection.request(method, target, body, dict(headers or {}))
            return connection.getresponse().status
        finally:
            connection.close()

    def post(self, target: str, body: bytes) -> int:
        """Post *body* as CallRail does."""
        return self.ask(
            "POST", target, body, {"Content-Type": "application/json", "Signature": sign(KEY.encode(), body)}
        )

    def logged(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("*log")))


def free_port() -> int:
    """A port for who cannot tell which one it took."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running_proxy(name: str, folder: Path, intakes: Sequence[int]) -> Iterator[Proxy]:
    """The proxy *name* before two ports; the test is skipped where it is not installed."""
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "cert.pem")
    tls = ssl.create_default_context()
    authority.configure_trust(tls)
    port = free_port()
    command = _COMMANDS[name](folder, port, intakes)
    environ = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    environ |= {"DOMAIN": f"localhost:{port}", "INTAKES": " ".join(f"127.0.0.1:{intake}" for intake in intakes)}
    with (folder / "process.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environ)
    proxy = Proxy(port, tls, folder)

    def answers() -> bool:
        assert process.poll() is None, proxy.logged()
        try:
            return proxy.ask("GET", "/") == 404
        except ConnectionError:
            return False

    try:
        wait_until(answers)
        yield proxy
    finally:
        process.terminate()
        process.wait(timeout=LONGEST)


def _nginx(folder: Path, port: int, intakes: Sequence[int]) -> list[str]:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed")
    site = (DEPLOY / "nginx.conf").read_text()
    for written, meant in (
        ("127.0.0.1:8080", f"127.0.0.1:{intakes[0]}"),
        ("127.0.0.1:8081", f"127.0.0.1:{intakes[1]}"),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/letsencrypt/live/hooks.example.com/fullchain.pem", str(folder / "cert.pem")),
        ("/etc/letsencrypt/live/hooks.example.com/privkey.pem", str(folder / "cert.pem")),
        ("/var/log/nginx/callrail-router.log", str(folder / "access.log")),
        ("/var/log/nginx/callrail-router.error.log", str(folder / "error.log")),
    ):
        site = _replaced(site, written, meant)
    (folder / "site.conf").write_text(site)
    user = "user root root;" if os.geteuid() == 0 else ""  # else it becomes nobody, who may not look into *folder*
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, user=user))
    command = [program, "-p", str(folder), "-e", str(folder / "start.log"), "-c", str(folder / "nginx.conf")]
    subprocess.run([*command, "-t"], check=True, capture_output=True, timeout=LONGEST)
    return command


def _caddy(folder: Path, _port: int, _intakes: Sequence[int]) -> list[str]:
    program = shutil.which("caddy")
    if program is None:
        pytest.skip("Caddy is not installed")
    version = subprocess.run([program, "version"], check=True, capture_output=True, text=True, timeout=LONGEST).stdout
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST_CADDY:
        pytest.skip(f"Caddy is older than the file is for: {version}")
    file = (DEPLOY / "Caddyfile").read_text()
    file = _replaced(file, "{\n\t# For errors", "{\n\tadmin off\n\tauto_https disable_redirects\n\t# For errors")
    file = _replaced(file, "\tlog\n\n", f"\tlog\n\ttls {folder}/cert.pem {folder}/cert.pem\n\n")
    file = _replaced(file, "lb_try_duration 15s", "lb_try_duration 2s")
    (folder / "Caddyfile").write_text(file)
    return [program, "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


def _replaced(text: str, written: str, meant: str) -> str:
    assert text.count(written) == 1, written
    return text.replace(written, meant)


_COMMANDS: dict[str, Callable[[Path, int, Sequence[int]], list[str]]] = {"nginx": _nginx, "caddy": _caddy}
PROXIES = tuple(_COMMANDS)
