"""Settings about people: what customers are told, when and by whom, and which of the staff hears what."""

from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit
from zoneinfo import available_timezones

import msgspec

from recoup_core.domain.staff import StaffKind
from recoup_core.secret import Secret, SecretUrl
from recoup_core.settings_reader import Reader, near

KEY_CHARS: Final = 32
"""The shortest key that anything is signed with."""

Name = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[a-z][a-z0-9_-]{0,39}\Z",
        description="lower-case letters, digits, - and _, beginning with a letter, 40 at most",
    ),
]
Locale = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?\Z",
        description="a language like de or pt-BR",
    ),
]
Clock = Annotated[str, msgspec.Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]\Z", description="a time like 08:00")]


class MessageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What messages to customers say."""

    dir: Path | None = None
    """A folder of templates; what it holds goes before what comes with Recoup."""
    locale: Locale = "en"
    """The language (BCP 47) where neither customer nor brand names one."""
    link_days: Annotated[int, msgspec.Meta(ge=1, le=90)] = 30
    """How long the link in a message opens the page where its reader pays, in days."""


class ContactSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The contact budget: how often, and when, one customer is written to, over all channels and all their cases."""

    per_week: Annotated[int, msgspec.Meta(ge=0, le=100)] = 4
    """Messages in any seven days."""
    min_gap_h: Annotated[int, msgspec.Meta(ge=0, le=168)] = 12
    """Hours between the messages of two steps."""
    quiet_from: Clock = "21:00"
    """From then on no message goes out, in the customer's own zone; the same as `quiet_to`: no quiet hours."""
    quiet_to: Clock = "08:00"
    sundays: bool = True
    """Whether messages go out on Sundays."""
    holidays: bool = False
    """Whether messages go out on public holidays of the customer's country."""
    vulnerable_per_week: Annotated[int, msgspec.Meta(ge=0, le=100)] = 1
    """Messages in any seven days to a customer marked as vulnerable; 0 leaves them to people."""
    reset_on_recovery: bool = True
    """Whether messages about a debt stop counting once it is paid."""


class BrandEntry(msgspec.Struct, frozen=True, kw_only=True):
    """How a merchant's customers know it: what messages and pages say and look like."""

    merchant: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] = "default"
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    colour: Annotated[str, msgspec.Meta(pattern=r"^#[0-9a-fA-F]{6}\Z", description="a colour like #1f4fd8")] = "#1f4fd8"
    """Of buttons and links; the text on it is black or white, whichever can be read."""
    logo_url: str | None = None
    """An `https` address; shown in HTML mails and on the page."""
    support_email: Annotated[str, msgspec.Meta(max_length=254)] | None = None
    """Where answers to mails go."""
    support_url: str | None = None
    website: str | None = None
    postal_address: Annotated[str, msgspec.Meta(max_length=300)] | None = None
    """At the foot of each mail; many countries' laws ask for it."""
    locale: Locale | None = None


class NotifierEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One way to customers or staff: which plugin sends, by which channels, with which options."""

    name: Name
    plugin: Name
    merchant: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    """Whose messages it sends; None: every merchant's that has none of its own for the channel."""
    channels: list[Name] = []
    """Those of its channels that it is used for; empty: all of them."""
    customers: bool = True
    """Whether messages to customers go by it; false: to staff alone."""
    options: Mapping[str, Any] = {}
    """As the plugin declares them; any text may be `env:NAME` or `file:/path` and is a `Secret` then."""

    def plain_options(self) -> dict[str, Any]:
        """Return the options with their secrets revealed, for the plugin and nobody else."""
        return {key: revealed(value) for key, value in self.options.items()}

    def __repr__(self) -> str:
        return f"NotifierEntry(name={self.name!r}, plugin={self.plugin!r}, options={sorted(self.options)})"


class StaffEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody of the staff, or a room of theirs, who is told things."""

    name: Name
    notifier: Name
    channel: Name = "email"
    to: str = ""
    """The address on that channel; none where the notifier has one reader alone."""
    merchant: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] = "default"
    about: list[str] = []
    """What they are told about (docs/notifications.md lists it); empty: everything."""
    locale: Locale = "en"
    timezone: str = "UTC"
    """When the daily digest comes (at eight) and what its day is."""


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where outbound webhooks may go: to the public internet, and nowhere else unless it is named here."""

    allow: list[str] = []
    """Networks of your own that endpoints may lie in (`10.20.0.0/16`), by `http` as well; whoever has an admin's key
    can have requests sent to any machine in them. In development, this machine is allowed, too."""
    ports: list[Annotated[int, msgspec.Meta(ge=1, le=65535)]] = msgspec.field(default_factory=lambda: [443])
    """Ports of endpoints on the public internet."""


class SecretsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What links and outbound webhooks are signed with."""

    key: SecretUrl | None = None
    """At least 32 characters, `env:NAME` or `file:/path`; None: one that was made at the first start and stands in the
    database. Another key voids every link sent and every secret of a webhook endpoint."""


def check_people(reader: Reader, folder: Path, *, sandbox: bool) -> None:
    """Keep the mistakes in how customers and staff are reached."""
    good = reader.good
    templates = good.get(("messages", "dir"))
    if templates is not None and not (folder / templates).is_dir():
        reader.problem(reader.where(("messages", "dir")), f"{templates} is no folder")
    key = good.get(("secrets", "key"))
    if key is not None and len(key.reveal()) < KEY_CHARS:
        reader.problem(reader.where(("secrets", "key")), f"must have at least {KEY_CHARS} characters")
    for network in good.get(("webhooks", "allow"), ()):
        try:
            ip_network(network)
        except ValueError:
            reader.problem(reader.where(("webhooks", "allow")), f"{network} is no network, like 10.20.0.0/16")
    names: set[tuple[type, str]] = set()
    notifiers = {value.name for value in good.values() if isinstance(value, NotifierEntry)}
    for path, entry in list(good.items()):
        if not isinstance(entry, NotifierEntry | StaffEntry | BrandEntry):
            continue
        where, name = ".".join(path), entry.merchant if isinstance(entry, BrandEntry) else entry.name
        if (type(entry), name) in names:
            field = "merchant" if isinstance(entry, BrandEntry) else "name"
            reader.problem(f"{where}.{field}", f"{name} is taken by another one")
        names.add((type(entry), name))
        if isinstance(entry, NotifierEntry) and entry.plugin == "outbox" and not sandbox:
            reader.problem(f"{where}.plugin", "the outbox reaches nobody: in production it needs allow_sandbox = true")
        if isinstance(entry, StaffEntry):
            _check_staff(reader, entry, where, notifiers)
        if isinstance(entry, BrandEntry):
            _check_brand(reader, entry, where)


def _check_staff(reader: Reader, staff: StaffEntry, where: str, notifiers: Collection[str]) -> None:
    if staff.notifier not in notifiers:
        hint = near(staff.notifier, sorted(notifiers))
        reader.problem(f"{where}.notifier", f"no notifier is named {staff.notifier}", hint)
    if staff.timezone not in available_timezones():
        reader.problem(f"{where}.timezone", f"{staff.timezone} is no IANA time zone, like Europe/Berlin")
    for kind in sorted(set(staff.about) - set(StaffKind)):
        reader.problem(f"{where}.about", f"nobody is told about {kind}", near(kind, list(StaffKind)))


def _check_brand(reader: Reader, brand: BrandEntry, where: str) -> None:
    for field in ("logo_url", "support_url", "website"):
        url = getattr(brand, field)
        if url is not None and not is_url(url, ("https", "http")):
            reader.problem(f"{where}.{field}", "must be a URL like https://host")
    mail = brand.support_email
    if mail is not None and (
        mail.count("@") != 1 or mail.startswith("@") or mail.endswith("@") or mail.split() != [mail]
    ):
        reader.problem(f"{where}.support_email", "must be an address like help@shop.example")


def is_url(url: str, schemes: Iterable[str]) -> bool:
    try:
        parts = urlsplit(url)
        # what would end a source in a content security policy, or a link's attribute, is in no host
        plain = not set(parts.netloc) & set(" ;,'\"<>*")
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0 and plain
    except ValueError:
        return False


def revealed(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Mapping):
        return {key: revealed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [revealed(inner) for inner in value]
    return value
