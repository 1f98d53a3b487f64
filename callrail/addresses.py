"""Which network addresses we connect to.

A URL in a configuration must not reach the machine itself, its private network or a cloud's metadata service unless
the operator says so. The check is made on the resolved addresses, and the connection goes to a checked one, so a name
that resolves differently a moment later changes nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Python's `is_global` is close, but differs between releases and lets tunnels to private IPv4 space through.
_DENIED_TEXT = """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
    192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
    ::/96 ::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 2001::/32 2001:db8::/32 2002::/16
    fc00::/7 fe80::/10 fec0::/10 ff00::/8
"""
_DENIED: tuple[Network, ...] = tuple(ipaddress.ip_network(text) for text in _DENIED_TEXT.split())
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")


class AllowList:
    """Hosts and networks an operator has allowed although the deny table holds them.

    Args:
        entries: Host names (allowed whatever they resolve to), addresses or networks in CIDR form.

    Raises:
        ValueError: An entry is none of these.
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._hosts: set[str] = set()
        self._networks: list[Network] = []
        for entry in entries:
            text = entry.strip().strip("[]").lower()
            try:
                self._networks.append(ipaddress.ip_network(text, strict=False))
            except ValueError:
                if not _HOST.fullmatch(text):
                    raise ValueError(f"{entry!r} is no host name, address or network") from None
                self._hosts.add(text)

    def permits(self, host: str, address: str) -> bool:
        """Whether *address*, to which *host* resolved, may be connected to."""
        ip = ipaddress.ip_address(address.partition("%")[0])
        if host.lower() in self._hosts or any(ip in network for network in self._networks):
            return True
        return not any(ip in network for network in _DENIED)

    def permits_all(self, host: str, addresses: Sequence[str]) -> bool:
        """Whether there are *addresses* and all are permitted: one denied address condemns the name."""
        return bool(addresses) and all(self.permits(host, address) for address in addresses)
