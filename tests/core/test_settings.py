"""Settings: what wins over what, and that every mistake is named with its place and without its secret."""

from collections.abc import Callable
from pathlib import Path

import pytest

from recoup_core.secret import Secret, SecretUrl, hide_url_passwords
from recoup_core.settings import MAX_FILE_BYTES, Settings, load_settings
from recoup_core.settings_reader import MAX_SECRET_BYTES, SettingsInvalid

Load = Callable[..., Settings]
Mistakes = Callable[..., list[str]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load settings from a file's text and an environment, in a folder of its own."""

    def load_from(toml: str = "", **environ: str) -> Settings:
        (tmp_path / "recoup.toml").write_text(toml)
        return load_settings(environ, tmp_path)

    return load_from


@pytest.fixture
def mistakes(load: Load) -> Mistakes:
    """Return the problems of settings that can't be used."""

    def problems_of(toml: str = "", **environ: str) -> list[str]:
        with pytest.raises(SettingsInvalid) as refusal:
            load(toml, **environ)
        return [str(problem) for problem in refusal.value.problems]

    return problems_of


def test_nothing_set_is_enough_to_start(tmp_path: Path) -> None:
    """The defaults need no file: embedded database, in-process broker, loopback only."""
    settings = load_settings({}, tmp_path)

    assert (settings.database.url, settings.amqp.url) == (None, None)
    assert (settings.api.host, settings.api.port) == ("127.0.0.1", 8460)
    assert settings.data_dir == tmp_path / ".recoup"
    assert settings.environment == "production"


def test_the_environment_wins_over_the_file(load: Load) -> None:
    """A container changes a setting without another file."""
    settings = load("[api]\nport = 1000\nhost = '0.0.0.0'", RECOUP_API__PORT="2000")

    assert (settings.api.port, settings.api.host) == (2000, "0.0.0.0")


@pytest.mark.parametrize("name", ["RECOUP_DATABASE__URL", "RECOUP_DATABASE_URL"])
def test_both_spellings_of_a_variable_work(load: Load, name: str) -> None:
    """Nested by two underscores, or flat."""
    settings = load(**{name: "postgresql://u:pw@host/db"})

    assert settings.database.url == SecretUrl("postgresql://u:pw@host/db")


def test_an_empty_variable_is_not_set(load: Load) -> None:
    """docker-compose passes unset variables on as empty ones."""
    settings = load("[api]\nport = 1000", RECOUP_API_PORT="", RECOUP_AMQP_URL="")

    assert (settings.api.port, settings.amqp.url) == (1000, None)


def test_texts_of_the_environment_become_what_is_wanted(load: Load) -> None:
    """The environment only knows texts."""
    settings = load(RECOUP_ALLOW_SANDBOX="true", RECOUP_WORKER_THREADS="3", RECOUP_LOG_LEVEL="debug")

    assert (settings.allow_sandbox, settings.worker.threads, settings.log.level) == (True, 3, "debug")


def test_variables_of_others_are_left_alone(load: Load) -> None:
    """Tests, tools and plugins have variables under our prefix too."""
    load(RECOUP_TEST_DATABASE_URL="x", RECOUP_REQUIRE_SERVICES="1", RECOUP_STRIPE_KEY="sk", RECOUP_API_KEY="k")


def test_a_file_can_be_named(tmp_path: Path) -> None:
    """`RECOUP_CONFIG` is taken from the current folder where it is relative."""
    (tmp_path / "other.toml").write_text("environment = 'development'")

    assert load_settings({"RECOUP_CONFIG": "other.toml"}, tmp_path).environment == "development"


def test_gateway_options_are_resolved_and_hidden(load: Load, tmp_path: Path) -> None:
    """Secrets come from the environment or from files, at any depth, and are shown nowhere."""
    (tmp_path / "key").write_text("whsec_file\n")
    settings = load(
        f"""
        [[gateways]]
        name = "stripe-eu"
        plugin = "stripe"
        options = {{ api_key = "env:KEY", webhook_secrets = ["file:{tmp_path}/key", "plain"], timeout_s = 20 }}
        """,
        KEY="sk_test_1",
    )

    (gateway,) = settings.gateways

    assert gateway.merchant == "default"
    assert gateway.plain_options() == {
        "api_key": "sk_test_1",
        "webhook_secrets": ["whsec_file", "plain"],
        "timeout_s": 20,
    }
    assert "sk_test_1" not in f"{settings!r}{settings}"
    assert "plain" not in f"{settings!r}{settings}"


def test_a_url_may_be_a_reference(load: Load, tmp_path: Path) -> None:
    """Docker hands secrets over as files."""
    (tmp_path / "amqp").write_text("amqp://u:p@rabbit/%2F\n")

    settings = load(RECOUP_AMQP_URL=f"file:{tmp_path}/amqp")

    assert settings.amqp.url == SecretUrl("amqp://u:p@rabbit/%2F")


def test_a_secret_tells_only_when_asked() -> None:
    """Neither `repr`, `str` nor a format shows it."""
    secret = Secret("hush")

    assert f"{secret} {secret!r} {secret!s}" == "*** Secret('***') ***"
    assert secret.reveal() == "hush"
    assert secret == Secret("hush")
    assert secret != Secret("other")
    assert len({secret, Secret("hush")}) == 1


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://user:pa:ss@host:5432/db", "postgresql://user:***@host:5432/db"),
        ("postgresql://user:p@ss/word@host/db", "postgresql://user:***@host/db"),
        (
            "postgresql://user@host/db?password=x&sslmode=require",
            "postgresql://user@host/db?password=***&sslmode=require",
        ),
        ("amqp://:pw@host", "amqp://:***@host"),
        ("see postgresql://a:b@c/d now", "see postgresql://a:***@c/d now"),
        ("http://host:80/path", "http://host:80/path"),
    ],
)
def test_urls_are_shown_without_their_password(url: str, shown: str) -> None:
    """The rest of it helps to find a mistake."""
    assert hide_url_passwords(url) == shown
    assert str(SecretUrl(url)) == shown


@pytest.mark.parametrize(
    ("toml", "environ", "problem"),
    [
        ("[databse]", {}, "databse: no setting has this name (did you mean database?)"),
        ("[worker]\nthread = 1", {}, "worker.thread: no setting has this name (did you mean threads?)"),
        ("[worker]\nthreads = '3'", {}, "worker.threads: Expected `int`, got `str`"),
        ("[worker]\nthreads = 0", {}, "worker.threads: Expected `int` >= 1"),
        ("[worker]\nlease_s = 30", {}, "worker.lease_s: Expected `int` >= 45"),
        ("worker = 3", {}, "worker: must be a table, not a number"),
        ("gateways = 3", {}, "gateways: must be a list of tables ([[gateways]]), not a number"),
        (
            "environment = 'prodution'",
            {},
            "environment: must be one of production, development (did you mean production?)",
        ),
        ("", {"RECOUP_API__PORT": "x"}, "RECOUP_API__PORT: Expected `int`, got `str`"),
        ("", {"RECOUP_API_PORT": "70000"}, "RECOUP_API_PORT: Expected `int` <= 65535"),
        (
            "",
            {"RECOUP_DATABSE_URL": "x"},
            "RECOUP_DATABSE_URL: no setting has this name (did you mean RECOUP_DATABASE_URL?)",
        ),
        (
            "",
            {"RECOUP_WORKER__THREAD": "x"},
            "RECOUP_WORKER__THREAD: no setting has this name (did you mean RECOUP_WORKER__THREADS?)",
        ),
        (
            "",
            {"RECOUP_API_PORT": "1", "RECOUP_API__PORT": "2"},
            "RECOUP_API__PORT: is set twice, RECOUP_API_PORT says the same key",
        ),
        (
            "",
            {"RECOUP_DATABASE_URL": "mysql://x"},
            "RECOUP_DATABASE_URL: must be a URL like postgresql://host or postgres://host",
        ),
        ("[amqp]\nurl = 'rabbit:5672'", {}, "amqp.url: must be a URL like amqp://host or amqps://host"),
        ("[amqp]\nurl = 'amqp://host:99999'", {}, "amqp.url: must be a URL like amqp://host or amqps://host"),
        ("[amqp]\nurl = 'env:NOPE'", {}, "amqp.url: refers to the variable NOPE, which is not set"),
        ("[api]\npublic_url = 'example.com'", {}, "api.public_url: must be a URL like http://host or https://host"),
        ("[database]\npool_min = 11", {}, "database.pool_min: must not be above database.pool_max (10)"),
        ("[policies]\ndir = 'nowhere'", {}, "policies.dir: nowhere is no folder"),
        (
            "[merchant]\nacquirer_country = 'de'",
            {},
            "merchant.acquirer_country: Expected `str` matching regex '^[A-Z]{2}\\\\Z'",
        ),
        ("[[gateways]]\nplugin = 'stripe'", {}, "gateways[0].name: is missing"),
        (
            "[[gateways]]\nname = 'a'\nplugin = 'x'\nretries_by = 'gatway'",
            {},
            "gateways[0].retries_by: must be one of recoup, gateway, biller (did you mean gateway?)",
        ),
        (
            "[[gateways]]\nname = 'a'\nplugin = 'x'\n[[gateways]]\nname = 'a'\nplugin = 'x'",
            {},
            "gateways[1].name: the name a is taken by another gateway",
        ),
        (
            "[[gateways]]\nname = 'a'\nplugin = 'sandbox'",
            {},
            "gateways[0].plugin: the sandbox moves no money: in production it needs allow_sandbox = true",
        ),
        (
            "[[gateways]]\nname = 'a'\nplugin = 'x'\noptions = {k = ['env:KEYY']}",
            {"KEY": "v"},
            "gateways[0].options.k[0]: refers to the variable KEYY, which is not set (did you mean KEY?)",
        ),
        (
            "[[gateways]]\nname = 'a'\nplugin = 'x'\noptions = {k = 'file:/nowhere/at/all'}",
            {},
            "gateways[0].options.k: refers to /nowhere/at/all, which can't be read: No such file or directory",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(
    mistakes: Mistakes, toml: str, environ: dict[str, str], problem: str
) -> None:
    """One mistake, one line, and a hint where something near exists."""
    assert mistakes(toml, **environ) == [problem]


def test_shapes_of_texts_are_told_in_words(mistakes: Mistakes) -> None:
    """A pattern tells an operator nothing; what it stands for does, also where the text may be missing."""
    assert mistakes(
        """
        [messages]
        locale = "german"
        [contact]
        quiet_to = "8:00"
        [[brands]]
        name = "Shop"
        colour = "red"
        locale = "english"
        """
    ) == [
        "messages.locale: must be a language like de or pt-BR",
        "contact.quiet_to: must be a time like 08:00",
        "brands[0].colour: must be a colour like #1f4fd8",
        "brands[0].locale: must be a language like de or pt-BR",
    ]


def test_what_would_silence_staff_and_support_is_named(mistakes: Mistakes) -> None:
    """A misspelt kind would leave somebody untold for ever, a wrong support address customers unheard."""
    assert mistakes(
        """
        [[notifiers]]
        name = "mail"
        plugin = "smtp"
        [[staff]]
        name = "anna"
        notifier = "mail"
        to = "anna@shop.example"
        about = ["task_open", "daily_digest"]
        [[brands]]
        name = "Shop"
        support_email = "help at shop"
        """
    ) == [
        "brands[0].support_email: must be an address like help@shop.example",
        "staff[0].about: nobody is told about task_open (did you mean task_opened?)",
    ]


def test_every_mistake_is_named_at_once(mistakes: Mistakes) -> None:
    """Nobody wants to start ten times to find ten mistakes."""
    found = mistakes(
        """
        environment = "prod"
        [worker]
        threads = 0
        batch = 0
        [amqp]
        url = "rabbit"
        [[gateways]]
        name = "A"
        """,
        RECOUP_LOG__FORMAT="xml",
    )

    assert [line.partition(":")[0] for line in found] == [
        "environment",
        "worker.threads",
        "worker.batch",
        "RECOUP_LOG__FORMAT",
        "gateways[0].name",
        "gateways[0].plugin",
        "amqp.url",
    ]


@pytest.mark.parametrize("environment", ["environment = 'development'", "allow_sandbox = true"])
def test_the_sandbox_is_allowed_where_said_so(load: Load, environment: str) -> None:
    """Development, or the word for it."""
    assert load(f"{environment}\n[[gateways]]\nname = 'a'\nplugin = 'sandbox'").gateways[0].plugin == "sandbox"


def test_no_problem_repeats_a_secret(mistakes: Mistakes, tmp_path: Path) -> None:
    """Mistakes are printed and logged."""
    (tmp_path / "big").write_text("hush" * MAX_SECRET_BYTES)
    (tmp_path / "binary").write_bytes(b"hush\xff")

    found = mistakes(
        "[[gateways]]\nname = 'a'\nplugin = 'x'\n"
        f"options = {{a = 'file:{tmp_path}/big', b = 'file:{tmp_path}/binary'}}",
        RECOUP_DATABASE_URL="hush://user:hush@",
        RECOUP_AMQP_URL="amqp://user:hush@[host",
    )

    assert len(found) == 4
    assert "hush" not in "".join(found)


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"[api", "is no TOML"), (b"\xff", "is not UTF-8 text"), (b"#" * (MAX_FILE_BYTES + 1), "is larger than")],
)
def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path, content: bytes, what: str) -> None:
    """The file is named, with what is wrong with it."""
    (tmp_path / "recoup.toml").write_bytes(content)

    with pytest.raises(SettingsInvalid, match=what):
        load_settings({}, tmp_path)


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    """Only the default file may be absent."""
    with pytest.raises(SettingsInvalid, match=r"RECOUP_CONFIG: .*gone\.toml can't be read"):
        load_settings({"RECOUP_CONFIG": "gone.toml"}, tmp_path)
