"""`recoup settlement`: a file in, what does not fit out, handed over and resolved in a person's name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recoup_server.examples_settlement import UNKNOWN_CHARGE_CSV

Recoup = Callable[..., Any]


def brought_in(recoup: Recoup, tmp_path: Path, text: str = UNKNOWN_CHARGE_CSV) -> Any:
    """Bring a file in for the sandbox."""
    file = tmp_path / "report.csv"
    file.write_text(text)
    return recoup("settlement", "import", file, "--gateway", "sandbox")


def test_a_report_is_brought_in_once_and_shown(work_off: Callable[[], None], recoup: Recoup, tmp_path: Path) -> None:
    """The same file again does nothing; matched, what nobody knows is shown."""
    first, again = brought_in(recoup, tmp_path), brought_in(recoup, tmp_path)
    work_off()

    [report] = json.loads(recoup("settlement", "list", "--json").out)
    shown = recoup("settlement", "show", report["id"])
    named = recoup("settlement", "show", report["report_ref"], "--gateway", "sandbox")

    assert "2 new lines" in first.out
    assert "nothing was done" in again.out
    assert "paid out 116.40 EUR" in recoup("settlement", "list", "--gateway", "sandbox").out
    assert "1 matched, 1 unmatched, 0 waiting" in shown.out
    assert "txn_1  charge  120.00 EUR" in shown.out
    assert named.out == shown.out
    assert recoup("ledger", "verify").code == 0


def test_an_exception_is_handed_over_and_resolved(
    work_off: Callable[[], None], key_of: Callable[..., Path], recoup: Recoup, tmp_path: Path
) -> None:
    """By a key with the role; it waits no more then, and its evidence is shown."""
    brought_in(recoup, tmp_path)
    work_off()
    [exception] = json.loads(recoup("settlement", "exceptions", "--json").out)
    otto, mia = key_of("otto", role="operator"), key_of("mia")

    refused = recoup("settlement", "assign", exception["id"], "--to", "maria", "--key-file", mia)
    assigned = recoup("settlement", "assign", exception["id"], "--to", "maria", "--key-file", otto)
    done = ("settlement", "resolve", exception["id"], "--evidence", "order 4711", "--key-file", otto)
    resolved = recoup(*done)

    assert (refused.code, "operator" in refused.err) == (1, True)
    assert "unknown_charge  maria  120.00 EUR" in assigned.out
    assert "order 4711" in resolved.out
    assert "no settlement exception waits" in recoup("settlement", "exceptions", "--owner", "maria").err
    assert "key:otto" in recoup("settlement", "exceptions", "--resolved").out


def test_what_can_not_be_read_is_a_line_not_a_traceback(shop: None, recoup: Recoup, tmp_path: Path) -> None:
    """With the line at fault; a file that is not there, a gateway that is not ours, a report nobody has."""
    wrong = brought_in(recoup, tmp_path, UNKNOWN_CHARGE_CSV.replace("120.00,EUR,120.00", "120.005,EUR,120.00"))
    nowhere = recoup("settlement", "import", tmp_path / "nothing.csv", "--gateway", "sandbox")
    elsewhere = recoup("settlement", "fetch", "po_1", "--gateway", "stripe-eu")
    nothing = recoup("settlement", "show", "0198d5f0-0000-7000-8000-000000000101")
    misnamed = recoup("settlement", "show", "po_1")

    assert [done.code for done in (wrong, nowhere, elsewhere, nothing, misnamed)] == [1, 1, 1, 1, 1]
    assert "line 9" in wrong.err
    assert "can't be read" in nowhere.err
    assert "stripe-eu" in elsewhere.err
    assert "no settlement report" in nothing.err
    assert "no settlement report po_1" in misnamed.err


def test_a_report_is_fetched_by_a_worker(work_off: Callable[[], None], recoup: Recoup) -> None:
    """Its name is the gateway's own; one that it does not know becomes an exception."""
    asked = recoup("settlement", "fetch", "sbs_nothing", "--gateway", "sandbox")
    work_off()

    assert "will be fetched" in asked.out
    assert "not_fetched  finance" in recoup("settlement", "exceptions").out
