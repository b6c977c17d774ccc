"""The skeleton of a plugin works as it is written, and is never written over anything."""

import subprocess
import sys
from pathlib import Path

import pytest

from recoup_plugins.scaffold import CantWrite, notifier_skeleton, skeleton, write_skeleton

BIN = Path(sys.executable).parent
LIMIT_S = 300
LONGEST = "a_name_just_long"


def run(folder: Path, *command: str) -> str:
    """Run a tool of this environment in the folder; what it says, where it is not content."""
    done = subprocess.run(
        [BIN / command[0], *command[1:]], cwd=folder, check=False, capture_output=True, text=True, timeout=LIMIT_S
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize("refunds", [True, False])
def test_a_skeleton_passes_its_own_tests_at_once(tmp_path: Path, refunds: bool) -> None:
    """An author starts from green: the conformance kit, types, style."""
    folder = write_skeleton("acme", tmp_path, refunds=refunds)

    assert run(folder, "pytest", "-q", "-p", "no:cacheprovider") == ""
    assert run(folder, "mypy") == ""
    assert run(folder, "ruff", "check", "--no-cache", ".") == ""
    assert run(folder, "ruff", "format", "--no-cache", "--check", ".") == ""


def test_a_notifier_s_skeleton_passes_its_own_tests_at_once(tmp_path: Path) -> None:
    """The same for whoever reaches people."""
    folder = write_skeleton("acme", tmp_path, notifier=True)

    assert run(folder, "pytest", "-q", "-p", "no:cacheprovider") == ""
    assert run(folder, "mypy") == ""


def test_a_notifier_s_tests_can_fail(tmp_path: Path) -> None:
    """Taking a lost answer for a message that was not sent is found: it would be sent twice."""
    folder = write_skeleton("acme", tmp_path, notifier=True)
    notifier = folder / "recoup_acme" / "notifier.py"
    wrong = notifier.read_text().replace(
        "raise AcmeAnswerLost(type(lost).__name__) from None", 'return NotNow(reason="")'
    )
    notifier.write_text(wrong)

    said = run(folder, "pytest", "-q", "-p", "no:cacheprovider")

    assert "test_a_lost_answer_is_unknown" in said


@pytest.mark.parametrize("name", ["acme", "zz", LONGEST, "a2_pay"])
def test_any_name_fits_a_notifier(tmp_path: Path, name: str) -> None:
    """Nothing is left of the template's own, nor of gateways."""
    folder = write_skeleton(name, tmp_path, notifier=True)
    text = "".join(path + text for path, text in notifier_skeleton(name)).lower()

    assert run(folder, "ruff", "check", "--no-cache", ".") == ""
    assert run(folder, "ruff", "format", "--no-cache", "--check", ".") == ""
    assert name == "acme" or "acme" not in text
    assert "gateway" not in text
    assert "refund" not in text


def test_its_tests_can_fail(tmp_path: Path) -> None:
    """Taking a lost answer for a decline is found."""
    folder = write_skeleton("acme", tmp_path, refunds=False)
    gateway = folder / "recoup_acme" / "gateway.py"
    wrong = gateway.read_text().replace("except AcmeRefused as refused:", "except Exception as refused:")
    gateway.write_text(wrong.replace("_refused(refused.code)", '_refused("lost")'))

    said = run(folder, "pytest", "-q", "-p", "no:cacheprovider")

    assert "test_a_lost_answer_is_unknown_and_then_found" in said


@pytest.mark.parametrize("name", ["zz", LONGEST, "a2_pay"])
@pytest.mark.parametrize("refunds", [True, False])
def test_any_name_fits(tmp_path: Path, name: str, refunds: bool) -> None:
    """Short and long names keep lines within limits, and nothing is left of the template's own."""
    folder = write_skeleton(name, tmp_path, refunds=refunds)

    assert run(folder, "ruff", "check", "--no-cache", ".") == ""
    assert run(folder, "ruff", "format", "--no-cache", "--check", ".") == ""
    assert "acme" not in "".join(path + text for path, text in skeleton(name, refunds=refunds)).lower()
    assert "#:" not in "".join(text for _, text in skeleton(name, refunds=refunds))


def test_without_refunds_nothing_speaks_of_them(tmp_path: Path) -> None:
    """Half a feature would be worse than none."""
    text = "".join(text for path, text in skeleton("acme", refunds=False) if path.endswith(".py"))

    assert "refund" not in text.lower()


@pytest.mark.parametrize(
    "name", ["", "a", "Acme", "9lives", "acme-eu", "a__b", "a_", "class", "core", "plugins", "x" * 17, "stripe", "é1"]
)
def test_a_name_that_can_not_be_is_refused(tmp_path: Path, name: str) -> None:
    """Illegal, our own, or taken; nothing is written."""
    with pytest.raises(CantWrite):
        write_skeleton(name, tmp_path, taken={"stripe"})

    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    """Work of a day is not overwritten by a typing error."""
    folder = write_skeleton("acme", tmp_path)
    (folder / "README.md").write_text("mine")

    with pytest.raises(CantWrite, match="exists already"):
        write_skeleton("acme", tmp_path)

    assert (folder / "README.md").read_text() == "mine"


def test_a_folder_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    """A file in the way is a line, not a traceback."""
    (tmp_path / "file").write_text("")

    with pytest.raises(CantWrite, match="can't be written"):
        write_skeleton("acme", tmp_path / "file")
