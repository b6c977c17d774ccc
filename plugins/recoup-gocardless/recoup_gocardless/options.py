"""The options of a GoCardless gateway."""

from typing import Literal

import msgspec


class GoCardlessOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a `gocardless` gateway."""

    access_token: str
    """A read-write access token of the account, or of a partner for it."""
    environment: Literal["live", "sandbox"]
    """Which GoCardless the token belongs to; it has no default, for the two look alike."""
    webhook_secrets: tuple[str, ...] = ()
    """The endpoint's secrets: two while one is changed. Without any, every webhook is refused."""
    success_plus: bool = False
    """Whether GoCardless retries failed payments of this account by itself (Success+, "intelligent retries"). Then
    `retries_by` must be `gateway`."""
    return_url: str | None = None
    """Where the page for a new mandate leads when no other address is asked for."""
    timeout_s: float = 8.0
    """How long to wait for the answer to one call."""
    api_base: str | None = None
    """Another address of the API, for tests."""

    def __repr__(self) -> str:
        return "GoCardlessOptions(...)"  # holds secrets; tracebacks may show locals
