"""Which IP addresses may be spoken to: those of the public internet, and networks that the operator names."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LOOPBACK: Final[tuple[Network, ...]] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))

_GLOBAL_V6: Final = IPv6Network("2000::/3")
"""What IANA has handed out as global unicast; all the rest is special."""

_NAT64: Final = IPv6Network("64:ff9b::/96")
"""The well-known prefix (RFC 6052): the last 32 bits are an IPv4 address."""

_NOT_PUBLIC: Final[tuple[Network, ...]] = (
    IPv4Network("168.63.129.16/32"),  # Azure's platform services, on every virtual machine there; looks public
    IPv4Network("192.88.99.0/24"),  # relays of 6to4 (RFC 7526), withdrawn
    IPv4Network("192.0.0.0/24"),  # protocol assignments; Oracle's cloud has its metadata at 192.0.0.192
    IPv6Network("2001::/23"),  # protocol assignments, Teredo among them
    IPv6Network("2002::/16"),  # 6to4: an IPv4 address in disguise
    IPv6Network("3fff::/20"),  # documentation (RFC 9637)
)


def is_allowed(address: str | Address, allowed: Sequence[Network] = ()) -> bool:
    """Return whether an address may be spoken to: it, and each address that hides in it, is public or allowed.

    Private, loopback, link-local (cloud metadata), shared (carrier NAT), multicast, reserved and documentation
    addresses are not, in none of the forms in which IPv6 wraps IPv4.
    """
    try:
        parsed = ip_address(address) if isinstance(address, str) else address
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address):
        if parsed.scope_id is not None:
            return False
        inner = _wrapped(parsed)
        if inner is not None:
            return is_allowed(inner, allowed)
    if is_within(parsed, allowed):
        return True
    if isinstance(parsed, IPv6Address) and parsed not in _GLOBAL_V6:
        return False
    return parsed.is_global and not parsed.is_multicast and not is_within(parsed, _NOT_PUBLIC)


def is_within(address: str | Address, networks: Sequence[Network]) -> bool:
    """Return whether an address lies in one of these networks, also where it is written as an IPv6 one."""
    parsed = ip_address(address) if isinstance(address, str) else address
    if isinstance(parsed, IPv6Address):
        parsed = _wrapped(parsed) or parsed
    return any(parsed.version == network.version and parsed in network for network in networks)


def _wrapped(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 one stands for, if it does."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None
