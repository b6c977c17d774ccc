"""`recoup payment report-captured`: what was collected elsewhere becomes refundable here."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Recoup = Callable[..., Any]


@pytest.fixture
def written(shop: None, tmp_path: Path) -> Callable[..., Path]:
    """`written(amount_minor=900)` writes a report of a payment without lines, with these fields otherwise."""

    def write(**fields: Any) -> Path:
        report = {
            "reference": "INV-8",
            "customer": {"ref": "customer-1"},
            "amount_minor": 1200,
            "currency": "EUR",
            "gateway": "sandbox",
            "gateway_ref": "sbx_reported_inv8",
            "method": "card",
            "captured_at": "2026-11-01T10:00:00Z",
        }
        file = tmp_path / "report.json"
        file.write_text(json.dumps(report | fields))
        return file

    return write


def test_what_it_came_to_is_told(written: Callable[..., Path], recoup: Recoup) -> None:
    """Reference, amount and what can be refunded stand in the answer; nobody's key is needed."""
    done = recoup("payment", "report-captured", written())

    assert done.code == 0
    assert done.out.startswith("payment INV-8  ")
    assert "12.00 EUR can be refunded" in done.out


def test_what_went_back_before_is_not_refundable(written: Callable[..., Path], recoup: Recoup) -> None:
    """Refunds that were made before Recoup knew the payment are told with it."""
    before = {"gateway_ref": "re_1", "amount_minor": 500, "at": "2026-11-02T10:00:00Z"}

    told = json.loads(recoup("payment", "report-captured", written(refunds=[before]), "--json").out)

    assert [(each["amount_minor"], each["held_minor"]) for each in told["captures"]] == [(1200, 500)]


def test_the_same_reference_twice_is_refused(written: Callable[..., Path], recoup: Recoup) -> None:
    """A payment is reported once; the second report changes nothing."""
    recoup("payment", "report-captured", written())

    again = recoup("payment", "report-captured", written(amount_minor=900, gateway_ref="sbx_reported_other"))

    assert again.code == 1
    assert "INV-8" in again.err


@pytest.mark.parametrize("wrong", [{"amount_minor": "12"}, {"amount_minor": 0}, {"gateway": "nowhere"}])
def test_what_is_wrong_is_named(written: Callable[..., Path], recoup: Recoup, wrong: dict[str, Any]) -> None:
    """The same strictness as over HTTP, told in a line."""
    done = recoup("payment", "report-captured", written(**wrong))

    assert done.code == 1
    assert next(iter(wrong)) in done.err
    assert "Traceback" not in done.err
