"""Which addresses may be connected to, and which only if the operator says so."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callrail.addresses import AllowList

DENIED = {
    "0.0.0.0": "this machine, by another name",
    "10.0.0.1": "private",
    "10.255.255.255": "private, the last",
    "100.64.0.1": "carrier's network",
    "100.127.255.255": "carrier's network, the last",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback, too",
    "169.254.169.254": "metadata of a cloud",
    "172.16.0.1": "private",
    "172.31.255.255": "private, the last",
    "192.0.0.8": "protocol assignments",
    "192.0.2.1": "documentation",
    "192.88.99.1": "6to4 relay",
    "192.168.1.1": "private",
    "198.18.0.1": "benchmarks",
    "198.51.100.7": "documentation",
    "203.0.113.7": "documentation",
    "224.0.0.1": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "this machine, by another name",
    "::1": "loopback",
    "::ffff:127.0.0.1": "loopback, mapped",
    "::ffff:8.8.8.8": "mapped: the table of IPv4 would not be asked",
    "64:ff9b::7f00:1": "loopback, through NAT64",
    "64:ff9b:1::1": "private NAT64",
    "100::1": "discarded",
    "2001::1": "Teredo tunnel",
    "2001:db8::1": "documentation",
    "2002:7f00:1::": "loopback, through 6to4",
    "fc00::1": "private",
    "fd00:ec2::254": "metadata of a cloud",
    "fe80::1": "link",
    "fe80::1%eth0": "link, with its zone",
    "fec0::1": "site",
    "ff02::1": "multicast",
}
PERMITTED = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "192.169.0.0",
    "223.255.255.255",
    "2606:4700::1111",
    "2a00:1450:4001:80e::200e",
]


@pytest.mark.parametrize("address", DENIED)
def test_an_address_of_our_own_world_is_denied(address: str) -> None:
    """Nothing in a configuration reaches the machine, its network or a tunnel to either by default."""
    assert not AllowList().permits("example.com", address)


@pytest.mark.parametrize("address", PERMITTED)
def test_a_public_address_is_permitted(address: str) -> None:
    """The table denies what it must and not the neighbours."""
    assert AllowList().permits("example.com", address)


ALLOWED = {
    "host by name": (["crm.internal"], "crm.internal", "10.1.2.3"),
    "host in other letters": (["CRM.internal"], "crm.INTERNAL", "10.1.2.3"),
    "address": (["127.0.0.1"], "localhost", "127.0.0.1"),
    "network": (["10.1.0.0/16"], "crm.internal", "10.1.2.3"),
    "network of IPv6": (["fd00::/8"], "crm.internal", "fd12::1"),
    "address of IPv6": (["::1"], "localhost", "::1"),
    "address with its zone": (["fe80::/10"], "printer", "fe80::1%eth0"),
    "one of several": (["192.168.0.0/16", "crm.internal"], "crm.internal", "10.1.2.3"),
}


@pytest.mark.parametrize(("entries", "host", "address"), ALLOWED.values(), ids=ALLOWED)
def test_an_operator_may_allow_it(entries: list[str], host: str, address: str) -> None:
    """Host, address or network: what is listed is reached."""
    assert not AllowList().permits(host, address)
    assert AllowList(entries).permits(host, address)


STILL_DENIED = {
    "another host": (["crm.internal"], "other.internal", "10.1.2.3"),
    "a host that only ends so": (["internal"], "crm.internal", "10.1.2.3"),
    "the next address": (["127.0.0.1"], "localhost", "127.0.0.2"),
    "the next network": (["10.1.0.0/16"], "crm.internal", "10.2.0.1"),
    "the mapped twin of an allowed address": (["127.0.0.1"], "localhost", "::ffff:127.0.0.1"),
}


@pytest.mark.parametrize(("entries", "host", "address"), STILL_DENIED.values(), ids=STILL_DENIED)
def test_what_is_allowed_opens_nothing_else(entries: list[str], host: str, address: str) -> None:
    """An exception holds for what it names and for nothing beside it."""
    assert not AllowList(entries).permits(host, address)


def test_one_bad_address_condemns_the_name() -> None:
    """A name that resolves to a public and a private address is not trusted with either, in any order."""
    assert not AllowList().permits_all("example.com", ["8.8.8.8", "10.0.0.1"])
    assert not AllowList().permits_all("example.com", ["10.0.0.1", "8.8.8.8"])
    assert AllowList().permits_all("example.com", ["8.8.8.8", "1.1.1.1"])
    assert not AllowList().permits_all("example.com", [])


@given(st.ip_addresses(v=4))
def test_wrapping_an_address_never_opens_it(address: ipaddress.IPv4Address) -> None:
    """Whatever stands in IPv4, its forms inside IPv6 are denied, so no tunnel leads around the table."""
    wrapped = int(address)
    forms = [
        ipaddress.IPv6Address((0xFFFF << 32) | wrapped),
        ipaddress.IPv6Address((0x64FF9B << 96) | wrapped),
        ipaddress.IPv6Address((0x2002 << 112) | (wrapped << 80)),
    ]

    assert not any(AllowList().permits("example.com", str(form)) for form in forms)
