"""The hooks that other repositories take from here, run by pre-commit itself."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

MANIFEST = ".pre-commit-hooks.yaml"
INSTALLED = "recoup-policy-check-installed"


def pre_commit(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pre-commit in a folder; commands of this environment come first on its path."""
    commands = str(Path(sys.executable).parent)
    environ = {**os.environ, "PRE_COMMIT_HOME": str(folder / ".cache"), "PATH": f"{commands}:{os.environ['PATH']}"}
    return subprocess.run(
        [sys.executable, "-m", "pre_commit", *arguments],
        cwd=folder,
        env=environ,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def hooks(root: Path) -> dict[str, Any]:
    """What the manifest offers, by id."""
    return {hook["id"]: hook for hook in yaml.safe_load((root / MANIFEST).read_text())}


@pytest.fixture
def repository(tmp_path: Path, root: Path, hooks: dict[str, Any]) -> Path:
    """A repository of policies that uses the hook which needs nothing to be installed."""
    hook = {key: value for key, value in hooks[INSTALLED].items() if key != "description"}
    (tmp_path / ".pre-commit-config.yaml").write_text(yaml.safe_dump({"repos": [{"repo": "local", "hooks": [hook]}]}))
    (tmp_path / "policies").mkdir()
    good = (root / "policies" / "retry" / "cards-consumer.yaml").read_text()
    (tmp_path / "policies" / "mine.yaml").write_text(good)
    (tmp_path / "other.yaml").write_text("not: a policy\n")
    for command in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_the_manifest_is_one(root: Path, tmp_path: Path) -> None:
    """By pre-commit's own check."""
    (tmp_path / MANIFEST).write_text((root / MANIFEST).read_text())

    done = pre_commit(tmp_path, "validate-manifest", MANIFEST)

    assert done.returncode == 0, done.stdout


def test_both_hooks_do_the_same(hooks: dict[str, Any]) -> None:
    """They differ in where the command comes from."""
    ways = {hook["language"] for hook in hooks.values()}
    same = [{key: hook[key] for key in ("entry", "types", "files", "require_serial")} for hook in hooks.values()]

    assert ways == {"python", "system"}
    assert same[0] == same[1]


def test_a_good_policy_may_be_committed(repository: Path) -> None:
    """Files outside `policies` are none of the hook's business."""
    done = pre_commit(repository, "run", "--all-files", "--verbose")

    assert done.returncode == 0, done.stdout
    assert "ok  policies/mine.yaml" in done.stdout


def test_a_broken_policy_may_not(repository: Path) -> None:
    """The place and the near name stand in what one sees."""
    mine = repository / "policies" / "mine.yaml"
    mine.write_text(mine.read_text().replace("insufficient_funds", "insuficient_funds", 1))

    done = pre_commit(repository, "run", "--all-files")

    assert done.returncode == 1
    assert "policies/mine.yaml:" in done.stdout
    assert "'insufficient_funds'" in done.stdout
