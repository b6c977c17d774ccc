"""docker-compose.yml describes the production set; `.ci/run` checks it against the specification as well."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from recoup_cli.main import cli
from recoup_core.settings import Settings
from recoup_core.settings_reader import PREFIX, leaf_paths
from recoup_workers.worker import DRAIN_S

OURS = ("migrate", "api", "worker", "scheduler")


@pytest.fixture(scope="module")
def compose(root: Path) -> Any:
    return yaml.safe_load((root / "docker-compose.yml").read_text())


def test_the_set_is_complete(compose: Any) -> None:
    """Database, broker and the four commands of one image."""
    services = compose["services"]

    assert set(services) == {"postgres", "rabbitmq", *OURS}
    assert services["postgres"]["image"].startswith("postgres:18")
    assert services["rabbitmq"]["image"].startswith("rabbitmq:4")
    assert len({services[name]["image"] for name in OURS}) == 1


@pytest.mark.parametrize("name", OURS)
def test_each_command_is_one_of_ours(name: str, compose: Any) -> None:
    """The image's entry point is `recoup`; the service names a command of it, which starts."""
    command = compose["services"][name]["command"]

    assert CliRunner().invoke(cli, [*command, "--help"]).exit_code == 0


def test_long_lived_services_have_health_checks_and_restart(compose: Any) -> None:
    """Whoever hangs is seen, whoever dies comes back; the one-shot migration does not."""
    for name, service in compose["services"].items():
        assert ("healthcheck" in service) == (name != "migrate"), name
        assert service["restart"] == ("no" if name == "migrate" else "unless-stopped"), name


def test_nothing_starts_before_what_it_needs(compose: Any) -> None:
    """Migrations first; workers and scheduler wait for the broker."""
    services = compose["services"]

    for name in ("api", "worker", "scheduler"):
        assert services[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    for name in ("worker", "scheduler"):
        assert services[name]["depends_on"]["rabbitmq"]["condition"] == "service_healthy"


def test_all_processes_make_the_same_links(compose: Any) -> None:
    """Workers write the links that the API opens: one key, one address of the outside, for all of them."""
    shared = [compose["services"][name]["environment"] for name in OURS]

    for setting in ("RECOUP_SECRETS_KEY", "RECOUP_API_PUBLIC_URL"):
        assert len({environment[setting] for environment in shared}) == 1
    assert all("signing_key" in compose["services"][name]["secrets"] for name in OURS)


def test_a_stop_gives_workers_time_to_drain(compose: Any) -> None:
    """Killing a worker that still waits for a gateway's answer would make an unknown outcome."""
    assert int(compose["services"]["worker"]["stop_grace_period"].removesuffix("s")) > DRAIN_S


def test_no_secret_is_inline_and_none_has_a_default(root: Path, compose: Any) -> None:
    """Passwords come from files that each installation makes for itself."""
    text = (root / "docker-compose.yml").read_text()

    for name, service in compose["services"].items():
        environment = service.get("environment", {})
        spoken = [key for key in environment if re.search("PASS|SECRET|KEY|TOKEN", key)]
        told = [
            key for key in spoken if not (key.endswith("_FILE") or environment[key].startswith("file:/run/secrets/"))
        ]
        assert told == [], name
    assert "default_pass" not in compose["configs"]["rabbitmq"]["content"]
    assert not re.search(r"://[^/\s]*:[^/\s]*@", text)
    assert all(set(secret) == {"file"} for secret in compose["secrets"].values())


def test_only_the_api_is_published_and_on_loopback(compose: Any) -> None:
    """TLS and the outside are the proxy's business."""
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}

    assert set(published) == {"api"}
    assert all(port.startswith("127.0.0.1:") for port in published["api"])


def test_every_setting_in_it_exists(compose: Any) -> None:
    """A mistyped variable would be ignored in silence."""
    known = {PREFIX + "_".join(path).upper() for path in leaf_paths(Settings)} | {"RECOUP_CONFIG"}

    for name in OURS:
        assert set(compose["services"][name]["environment"]) <= known, name


def test_queues_are_replicated_and_processes_have_few_rights(compose: Any) -> None:
    """Quorum queues by default at the broker, and our own processes read-only without capabilities."""
    assert "default_queue_type = quorum" in compose["configs"]["rabbitmq"]["content"]
    for name in OURS:
        service = compose["services"][name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name


def test_the_image_is_lean_and_runs_without_rights(root: Path) -> None:
    """Two stages, an ordinary user, hashes checked, no embedded PostgreSQL."""
    text = (root / "server/Dockerfile").read_text()

    assert text.count("\nFROM ") == 2
    assert re.search(r"^USER (?!0|root)", text, re.MULTILINE)
    assert "--require-hashes" in text
    assert "embedded" not in re.sub(r"#.*", "", text)
    assert 'ENTRYPOINT ["recoup"]' in text
