"""What mail servers mean: which answers say that an address is dead, and which that somebody else is in the way.

Enhanced status codes: RFC 3463, 5248, 7505 and IANA's registry. Taking a policy's block (5.7.x) for a dead address
would lose a customer's address because of a spam filter's mood.
"""

import re
from typing import Final

DEAD: Final = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"})
"""No such mailbox; no such domain; no address; moved away; takes no mail (null MX); disabled."""

TOO_LARGE: Final = frozenset({"5.2.3", "5.3.4"})

OURS: Final = frozenset({"5.7.8", "5.7.9", "5.7.11", "5.7.14", "5.5.1"})
"""The relay does not know us: somebody has to mend the settings, and then the message goes out."""

_ENHANCED: Final = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.])")


def enhanced(text: str) -> str | None:
    """Return the first enhanced status code in a server's words."""
    found = _ENHANCED.search(text)
    return found[1] if found else None


def is_dead(status: str | None) -> bool:
    """Whether a status says that the address will never take mail."""
    return status in DEAD


def is_blocking(status: str | None) -> bool:
    """Whether a permanent failure is about a policy, a full mailbox or the way there, and not about the address."""
    return status is not None and (status.startswith(("5.7.", "5.3.", "5.4.")) or status in ("5.2.2", "5.2.3"))
