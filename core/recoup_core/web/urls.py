"""URLs that others gave: read once, strictly, and the same way by whoever checks them and whoever connects."""

import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, quote, urlsplit

import idna
import msgspec

from recoup_core.domain.errors import DomainError
from recoup_core.web.addresses import LOOPBACK, Network, is_allowed

MAX_URL: Final = 2_000
MAX_HOST: Final = 253

_PLAIN: Final = re.compile(r"[\x21-\x7e\u00a1-\U0010ffff]+")
"""No spaces and no control characters: parsers differ in what they do with them."""

_NUMBER: Final = re.compile(r"(?i)[0-9]+|0x[0-9a-f]*")
"""A last label of a host that some resolvers take for (a part of) an IPv4 address: 127.1, 0x7f000001, 017700000001."""

_HTTPS_PORT: Final = 443
_HTTP_PORT: Final = 80


class UrlRefused(DomainError):
    """Nothing is sent to such a URL."""

    code = "url_refused"
    field = "url"

    def __init__(self, message: str) -> None:
        super().__init__(f"url: {message}")


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """Where requests may go."""

    allowed: tuple[Network, ...] = ()
    """Networks beside the public internet."""
    ports: frozenset[int] = frozenset({_HTTPS_PORT})
    """For public addresses; allowed networks have all of them."""

    @property
    def http(self) -> bool:
        """Whether `http` may be asked for at all; it only ever goes to allowed networks."""
        return bool(self.allowed)


def reach_of(allowed: Sequence[Network], ports: Sequence[int], *, development: bool) -> Reach:
    """Return where requests may go; in development, to this machine as well."""
    return Reach(allowed=(*allowed, *(LOOPBACK if development else ())), ports=frozenset(ports))


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a URL means."""

    scheme: str
    host: str
    """In ASCII and lower case, without brackets and final dot."""
    port: int
    path: str
    """With the query, percent-encoded."""

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (_HTTPS_PORT if self.scheme == "https" else _HTTP_PORT) else f"{host}:{self.port}"

    def at(self, address: str) -> str:
        """Return the URL with an IP address in the place of its host."""
        return f"{self.scheme}://{f'[{address}]' if ':' in address else address}:{self.port}{self.path}"


def read_url(url: str, reach: Reach) -> Target:
    """Return what a URL means; raise `UrlRefused` for one that nothing would be sent to, whatever its name means."""
    if not 1 <= len(url) <= MAX_URL or not _PLAIN.fullmatch(url) or "\\" in url:
        raise UrlRefused(f"must be 1 to {MAX_URL} characters without spaces, control characters and backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UrlRefused("can't be read as a URL") from None
    if parts.scheme not in (("https", "http") if reach.http else ("https",)):
        raise UrlRefused("must begin with https://")
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise UrlRefused("must not hold a user name or a password; the signature says who sends")
    if "#" in url:
        raise UrlRefused("must not have a fragment")
    host = _host(parts, reach)
    if port is None:
        port = _HTTPS_PORT if parts.scheme == "https" else _HTTP_PORT
    if port not in reach.ports and not reach.allowed:
        raise UrlRefused(f"port {port} is not one of {', '.join(map(str, sorted(reach.ports)))}")
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = f"?{quote(parts.query, safe='/%:@!$&()*+,;=~-._?')}" if parts.query else ""
    return Target(scheme=parts.scheme, host=host, port=port, path=path + query)


def _host(parts: SplitResult, reach: Reach) -> str:
    """Return the host in the one form that is checked and connected to."""
    name = (parts.hostname or "").removesuffix(".")
    if ":" in name or parts.netloc.startswith("["):
        return _literal(name, reach)
    try:
        name = name if name.isascii() else idna.encode(name, uts46=True).decode()
    except idna.IDNAError:
        raise UrlRefused("its host is no valid name") from None
    if not re.fullmatch(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?", name) or ".." in name or len(name) > MAX_HOST:
        raise UrlRefused("its host is no valid name")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return _literal(name, reach)
    return name


def _literal(text: str, reach: Reach) -> str:
    """Return an IP address in its plain form; other spellings of one are refused."""
    try:
        address = ip_address(text)
    except ValueError:
        raise UrlRefused("its host is no valid name, and no IP address in its plain form") from None
    if not is_allowed(address, reach.allowed):
        raise UrlRefused(f"{address} is no public address; `[webhooks] allow` in the settings names further networks")
    return str(address)
