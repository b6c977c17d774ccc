"""Settings: the environment over one TOML file, checked as a whole before anything starts.

Every mistake is named at once, with the place it was made and never with a secret's value. Nothing is read at import.
"""

import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from zoneinfo import available_timezones

import msgspec

from recoup_core.domain.payment import RetryOwner
from recoup_core.secret import Secret, SecretUrl
from recoup_core.settings_people import (
    BrandEntry,
    ContactSettings,
    MessageSettings,
    Name,
    NotifierEntry,
    SecretsSettings,
    StaffEntry,
    WebhookSettings,
    check_people,
    is_url,
    revealed,
)
from recoup_core.settings_reader import KeyPath, Reader, SettingsInvalid

FILE_NAME: Final = "recoup.toml"
"""Read from the current folder when `RECOUP_CONFIG` names no other file."""
MAX_FILE_BYTES: Final = 1024 * 1024
OTHERS: Final = ("RECOUP_CONFIG", "RECOUP_TEST_", "RECOUP_REQUIRE_SERVICES")
"""Variables under our prefix that are no settings."""

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
"""0 lets the system choose."""


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The PostgreSQL that holds the truth."""

    url: SecretUrl | None = None
    """`postgresql://user:password@host/name`, or `env:NAME` or `file:/path`; None runs the embedded one."""
    pool_min: Annotated[int, msgspec.Meta(ge=0, le=200)] = 1
    pool_max: Annotated[int, msgspec.Meta(ge=1, le=200)] = 10
    """Connections a process; 200 processes' worth would starve PostgreSQL's own default of 100 in all."""


class AmqpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The RabbitMQ that carries due work."""

    url: SecretUrl | None = None
    """`amqp://user:password@host/vhost`, or a reference as above; None works in process."""
    queue_prefix: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9._-]{0,59}\Z")] = "recoup"
    """The first part of every queue's name; two installations on one broker need two prefixes."""


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the API and the dashboard listen."""

    host: str = "127.0.0.1"
    port: Port = 8460
    public_url: str | None = None
    """How the outside reaches us (`https://recoup.example.com`), where a proxy stands before."""


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How much one worker process does at a time."""

    threads: Annotated[int, msgspec.Meta(ge=1, le=256)] = 16
    """Messages worked on at once; each thread only waits for its coroutine."""
    batch: Annotated[int, msgspec.Meta(ge=1, le=500)] = 20
    """Jobs of one kind in one message."""
    prefetch: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 32
    """Messages a worker holds, those in work included."""
    lease_s: Annotated[int, msgspec.Meta(ge=45, le=900)] = 120
    """How long a claimed job is left alone, in seconds: longer than a gateway call (30 s) and well under
    RabbitMQ's consumer timeout (30 minutes)."""
    metrics_host: str = "127.0.0.1"
    metrics_port: Port | None = None
    """Where metrics and health answer; None: nowhere."""


class SchedulerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How due jobs are found and handed out."""

    poll_ms: Annotated[int, msgspec.Meta(ge=10, le=60_000)] = 500
    """How often an idle scheduler looks for due jobs, in milliseconds."""
    in_flight_max: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 200
    """Messages that may wait in the queue before the scheduler stops claiming."""
    metrics_host: str = "127.0.0.1"
    metrics_port: Port | None = None


class PolicySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the policies are."""

    dir: Path | None = None
    """None: those that come with the package."""


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


class MerchantSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for a merchant that says nothing else."""

    acquirer_country: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{2}\Z")] | None = None
    """Where its acquirer sits (ISO 3166-1 alpha-2): some network limits differ by it."""
    timezone: str = "UTC"
    """Whose calendar says what a day is (IANA, `Europe/Berlin`), for what refund policies allow per day; holds for
    every merchant of this installation from the next start on."""


class GatewayEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One gateway account: which plugin speaks to it, for which merchant, with which options."""

    name: Name
    plugin: Name
    merchant: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] = "default"
    retries_by: RetryOwner = RetryOwner.RECOUP
    """Who tries failed payments of this account again: `recoup`, the `gateway` itself or a `biller` at it. Recoup takes
    over where such an owner has given up, and never tries beside it."""
    opens_cases: bool = True
    """Whether failures that its webhooks tell of open cases; false where checkouts fail here, too, and the billing
    system reports what is to be collected."""
    finds_backups: bool = True
    """Whether it is asked what else a customer has stored, where a policy tries a backup and none was reported."""
    settles_within_days: Annotated[int, msgspec.Meta(ge=0, le=365)] = 10
    """After how many days what is booked and stands in no settlement report is put before a person, once the gateway
    has ever sent one; 0: never. Card payouts take some 2 to 7 days, bank debits up to 10."""
    settles_others: bool = False
    """Whether settlement reports of this account tell of charges, too, that Recoup is never told of: then an unknown
    one is no exception."""
    exceptions_to: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] = "finance"
    """The role or the person that a new settlement exception of this account is for."""
    options: Mapping[str, Any] = {}
    """As the plugin declares them; any text may be `env:NAME` or `file:/path` and is a `Secret` then."""

    def plain_options(self) -> dict[str, Any]:
        """Return the options with their secrets revealed, for the plugin and nobody else."""
        return {key: revealed(value) for key, value in self.options.items()}

    def __repr__(self) -> str:
        return f"GatewayEntry(name={self.name!r}, plugin={self.plugin!r}, options={sorted(self.options)})"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set."""

    environment: Literal["production", "development"] = "production"
    allow_sandbox: bool = False
    """In production the sandbox gateway, which moves no real money, needs this said aloud."""
    data_dir: Path = Path(".recoup")
    """Where the embedded database and the sandbox's books live; relative to the current folder."""
    database: DatabaseSettings = DatabaseSettings()
    amqp: AmqpSettings = AmqpSettings()
    api: ApiSettings = ApiSettings()
    worker: WorkerSettings = WorkerSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    policies: PolicySettings = PolicySettings()
    log: LogSettings = LogSettings()
    merchant: MerchantSettings = MerchantSettings()
    messages: MessageSettings = MessageSettings()
    contact: ContactSettings = ContactSettings()
    secrets: SecretsSettings = SecretsSettings()
    webhooks: WebhookSettings = WebhookSettings()
    gateways: tuple[GatewayEntry, ...] = ()
    notifiers: tuple[NotifierEntry, ...] = ()
    brands: tuple[BrandEntry, ...] = ()
    staff: tuple[StaffEntry, ...] = ()


def load_settings(environ: Mapping[str, str] | None = None, folder: Path | None = None) -> Settings:
    """Return the settings of this process; `SettingsInvalid` names every mistake.

    `environ` and `folder` stand for the process's environment and current folder where not given.
    """
    environ = os.environ if environ is None else environ
    folder = Path.cwd() if folder is None else folder
    reader = Reader(environ)
    table = _read_file(reader, environ, folder)
    reader.take_variables(Settings, OTHERS)
    settings = reader.struct(Settings, table, ())
    _check(reader, folder)
    if settings is None or reader.problems:
        raise SettingsInvalid(reader.problems)
    return msgspec.structs.replace(settings, data_dir=folder / settings.data_dir)


def _read_file(reader: Reader, environ: Mapping[str, str], folder: Path) -> dict[str, Any]:
    named = environ.get("RECOUP_CONFIG")
    path = folder / (named or FILE_NAME)
    if not named and not path.exists():
        return {}
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            reader.problem(str(path), f"is larger than {MAX_FILE_BYTES} bytes")
            return {}
        return tomllib.loads(content.decode())
    except OSError as mistake:
        reader.problem("RECOUP_CONFIG" if named else str(path), f"{path} can't be read: {mistake.strerror}")
    except UnicodeDecodeError:
        reader.problem(str(path), "is not UTF-8 text")
    except tomllib.TOMLDecodeError as mistake:
        reader.problem(str(path), f"is no TOML: {mistake}")
    return {}


def _check(reader: Reader, folder: Path) -> None:
    """Keep the mistakes that one value's type doesn't show."""
    good = reader.good
    _check_url(reader, ("database", "url"), ("postgresql", "postgres"))
    _check_url(reader, ("amqp", "url"), ("amqp", "amqps"))
    _check_url(reader, ("api", "public_url"), ("http", "https"))
    database = good.get(("database",), DatabaseSettings())
    if database.pool_min > database.pool_max:
        where = reader.where(("database", "pool_min"))
        reader.problem(where, f"must not be above database.pool_max ({database.pool_max})")
    zone = good.get(("merchant", "timezone"))
    if zone is not None and zone not in available_timezones():
        reader.problem(reader.where(("merchant", "timezone")), f"{zone} is no IANA time zone, like Europe/Berlin")
    policies = good.get(("policies", "dir"))
    if policies is not None and not (folder / policies).is_dir():
        reader.problem(reader.where(("policies", "dir")), f"{policies} is no folder")
    sandbox = good.get(("environment",)) == "development" or good.get(("allow_sandbox",)) is True
    check_people(reader, folder, sandbox=sandbox)
    _check_gateways(reader, [value for value in good.items() if isinstance(value[1], GatewayEntry)], sandbox=sandbox)


def _check_url(reader: Reader, path: KeyPath, schemes: Iterable[str]) -> None:
    url = reader.good.get(path)
    if url is None:
        return
    if not is_url(url.reveal() if isinstance(url, Secret) else url, schemes):
        reader.problem(
            reader.where(path), f"must be a URL like {' or '.join(f'{scheme}://host' for scheme in schemes)}"
        )


def _check_gateways(reader: Reader, entries: Sequence[tuple[KeyPath, GatewayEntry]], *, sandbox: bool) -> None:
    seen: set[str] = set()
    for path, gateway in entries:
        where = ".".join(path)
        if gateway.name in seen:
            reader.problem(f"{where}.name", f"the name {gateway.name} is taken by another gateway")
        seen.add(gateway.name)
        if gateway.plugin == "sandbox" and not sandbox:
            reader.problem(f"{where}.plugin", "the sandbox moves no money: in production it needs allow_sandbox = true")
