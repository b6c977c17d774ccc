"""Only the public internet is spoken to, in whatever disguise another address comes."""

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoup_core.web.addresses import LOOPBACK, is_allowed

INSIDE = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.0.3", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1",
    "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "3fff::1", "5f00::1",
    "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "2606:4700::1111%1", "fec0::1", "ff02::1", "::ffff:0:7f00:1",
]  # fmt: skip

OUTSIDE = ["1.1.1.1", "8.8.8.8", "93.184.215.14", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", INSIDE)
def test_no_address_of_our_own_networks_is_allowed(address: str) -> None:
    """Private, loopback, link-local, carrier NAT, metadata, multicast, reserved, tunnels and documentation."""
    assert not is_allowed(address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_public_addresses_are_allowed(address: str) -> None:
    """Also where IPv6 wraps a public IPv4 one, as networks without IPv4 of their own do."""
    assert is_allowed(address)


def test_named_networks_are_allowed_and_nothing_beside_them() -> None:
    """An installation in a private network reaches its own receivers, in each spelling of their addresses."""
    allowed = [ip_network("10.20.0.0/16")]

    assert is_allowed("10.20.3.4", allowed)
    assert is_allowed("::ffff:10.20.3.4", allowed)
    assert not is_allowed("10.21.0.1", allowed)
    assert not is_allowed("169.254.169.254", allowed)
    assert is_allowed("::1", LOOPBACK)


@given(address=st.ip_addresses(v=4))
def test_wrapped_in_ipv6_an_address_is_what_it_was(address: IPv4Address) -> None:
    """IPv4-mapped and NAT64 forms open nothing that the plain one does not."""
    plain = is_allowed(address)

    assert is_allowed(f"::ffff:{address}") == plain
    assert is_allowed(IPv6Address(int(IPv6Address("64:ff9b::")) | int(address))) == plain


@given(address=st.ip_addresses())
def test_what_python_knows_as_special_is_never_allowed(address: IPv4Address | IPv6Address) -> None:
    """Our own list is stricter than the registries', never looser."""
    special = address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified
    assert not (is_allowed(address) and special)


@pytest.mark.parametrize("text", ["", "localhost", "2130706433", "0x7f.1", "127.1", "1.1.1.1 ", "017700000001"])
def test_what_is_no_address_is_not_allowed(text: str) -> None:
    """A resolver's answers are addresses; whatever else comes is refused."""
    assert not is_allowed(text)
