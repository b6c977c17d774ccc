"""What the documents say is so."""

import re
import tomllib
from pathlib import Path

from recoup_cli.main import cli
from recoup_core.settings import Settings, load_settings
from recoup_core.settings_reader import PREFIX, leaf_paths

FIRST_SCREEN = 45


def read(root: Path, name: str) -> str:
    return (root / name).read_text()


def test_every_make_target_a_document_names_exists(root: Path) -> None:
    """A newcomer types what stands there."""
    targets = set(re.findall(r"^([a-z]+):", read(root, "Makefile"), re.MULTILINE))

    for name in ("README.md", "docs/operations.md", ".ci/run"):
        named = set(re.findall(r"(?:^|`|&& )make ([a-z]+)", read(root, name), re.MULTILINE))
        assert named <= targets, name


def test_the_first_screen_shows_demo_and_tests(root: Path) -> None:
    """Two commands, at once visible."""
    first = read(root, "README.md").splitlines()[:FIRST_SCREEN]

    assert any(line.startswith("make demo") for line in first)
    assert any(line.startswith("make test") for line in first)


def test_every_command_a_document_names_exists(root: Path) -> None:
    """`recoup ...` in a document starts with a command that there is."""
    for name in ("README.md", "docs/operations.md", "docker-compose.yml", "docs/CHANGELOG.md"):
        named = set(re.findall(r"(?:^|`)recoup ([a-z]+)", read(root, name), re.MULTILINE))
        assert named <= set(cli.commands), name


def test_every_setting_is_documented_and_nothing_else(root: Path) -> None:
    """docs/configuration.md is the whole list."""
    known = {PREFIX + "_".join(path).upper() for path in leaf_paths(Settings)}

    documented = set(re.findall(r"^\| `[a-z_.]+` \| `(RECOUP_[A-Z_]+)`", read(root, "docs/configuration.md"), re.M))

    assert documented == known


def test_the_example_settings_are_valid(root: Path, tmp_path: Path) -> None:
    """Copied and given its secrets, the example starts."""
    text = read(root, "docs/recoup.example.toml").replace("/run/gateway-secrets", str(tmp_path))
    (tmp_path / "recoup.toml").write_text(text)
    for name in ("stripe_api_key", "stripe_webhook_secret"):
        (tmp_path / name).write_text("secret")

    settings = load_settings({}, tmp_path)

    assert [gateway.name for gateway in settings.gateways] == ["stripe-eu"]


def test_the_changelog_knows_the_version(root: Path) -> None:
    """No release without a word about it."""
    version = tomllib.loads(read(root, "pyproject.toml"))["project"]["version"]

    assert f"\n## {version}" in read(root, "docs/CHANGELOG.md")


def test_links_in_documents_lead_somewhere(root: Path) -> None:
    """A relative link names a file of the checkout."""
    for name in ("README.md", "docs/operations.md", "docs/configuration.md"):
        here = (root / name).parent
        links = re.findall(r"\]\((?!https?:)([^)#]+)", read(root, name))
        assert [link for link in links if not (here / link).exists()] == [], name
