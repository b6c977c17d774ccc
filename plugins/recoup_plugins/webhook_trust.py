"""What the conformance kits assume about a provider's signatures, and where a plugin's tests say otherwise."""

from typing import ClassVar


class WebhookTrust:
    """Both kits inherit it: replace in your subclass what does not hold for your provider."""

    SIGNS_TIME: ClassVar[bool] = True
    """Whether a signature covers when it was made. Without, an old delivery can't be told from one that comes late: it
    is taken, and its id says whether it was taken before."""

    def tampered(self, body: bytes) -> bytes:
        """Return a delivery as a stranger would change it; by default any byte more, since most sign the raw body."""
        return body + b" "
