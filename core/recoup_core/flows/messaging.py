"""What flows know of how people are reached: notifiers and whom they serve, brands, the contact budget, templates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from recoup_core.flows.links import Links
from recoup_core.ports import Notifier
from recoup_core.rules.deciding.contact import ContactRules
from recoup_core.signing import SigningKeys
from recoup_core.templates.catalogue import Catalogue
from recoup_core.templates.variables import Brand


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Which notifier carries a channel, for whom."""

    notifier: str
    merchant: str | None
    """None: every merchant that has none of its own."""
    channels: frozenset[str]
    customers: bool = True


class StaffReader(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody of the staff who is told things."""

    name: str
    merchant: str
    notifier: str
    channel: str
    to: str
    about: frozenset[str]
    """Empty: everything."""
    locale: str
    timezone: str


def _unlinked() -> Links:
    return Links("http://127.0.0.1", SigningKeys())


@dataclass(frozen=True, slots=True)
class Messaging:
    """How people are reached; made once per process by `wiring`."""

    notifiers: Mapping[str, Notifier] = field(default_factory=dict)
    routes: Sequence[Route] = ()
    staff: Sequence[StaffReader] = ()
    brands: Mapping[str, Brand] = field(default_factory=dict)
    """By merchant."""
    contact: ContactRules = field(default_factory=ContactRules)
    templates: Catalogue = field(default_factory=Catalogue)
    links: Links = field(default_factory=_unlinked)
    link_lifetime: timedelta = timedelta(days=30)
    locale: str = "en"
    keys: SigningKeys = field(default_factory=SigningKeys)

    def notifier_for(self, merchant: str, channel: str) -> Notifier | None:
        """Return what carries a channel to a merchant's customers: the merchant's own before the house's."""
        able = [r for r in self.routes if r.customers and channel in r.channels and r.merchant in (merchant, None)]
        best = next((r for r in able if r.merchant == merchant), next(iter(able), None))
        return None if best is None else self.notifiers[best.notifier]

    def channels(self, merchant: str) -> frozenset[str]:
        """Return the channels by which a merchant's customers can be reached at all."""
        able = (r.channels for r in self.routes if r.customers and r.merchant in (merchant, None))
        return frozenset().union(*able)

    def brand_of(self, merchant: str) -> Brand:
        """Return how the merchant's customers know it; without a brand in the settings, by its id."""
        return self.brands.get(merchant) or Brand(merchant=merchant, name=merchant)
