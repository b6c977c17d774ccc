"""The part of `optional_conformance` that is about settlement reports, and what all its parts ask for."""

from typing import Any, Final

import pytest

from recoup_plugins import GatewaySettings, ReportedSettlement, SettlementKind, SettlementUnreadable
from recoup_plugins.hosting_answers import CHECKS
from recoup_plugins.manager import broken_contract
from recoup_plugins.optional_bench import SettlementBench

NO_REPORTS: Final = (
    b"",
    b"\x00\xff\xfe",
    b"<!DOCTYPE html><html></html>",
    b"{",
    b"[]",
    b"a;b;c\n",
    b"," * 5000,
    b"\n" * 99,
)
"""What may be uploaded by mistake: nothing, an image, an error page, other formats."""


class OptionalConformance:
    """What all of them ask for."""

    @pytest.fixture
    def bench(self) -> Any:
        """Give the kit your gateway; each plugin's tests define their own."""
        raise NotImplementedError("define the fixture `bench` in your subclass")

    def test_the_capabilities_promise_what_is_there(self, bench: Any) -> None:
        """Flows ask the capabilities before they try."""
        settings = GatewaySettings(name=bench.gateway.name, plugin="under_test")

        assert broken_contract(bench.gateway, settings) is None


class SettlementConformance(OptionalConformance):
    """Reports are booked to the cent, or put before a person."""

    def test_a_report_adds_up(self, bench: SettlementBench) -> None:
        """What its lines come to, fees taken off, is what it says was paid out."""
        report = _read(bench, bench.report())

        nets = [(line.kind is SettlementKind.PAYOUT, line.settled_minor - line.fee_minor) for line in report.lines]
        earned = sum(net for is_payout, net in nets if not is_payout)
        payouts = sum(net for is_payout, net in nets if is_payout)
        assert report.lines
        if report.paid_out_minor is not None:
            assert earned == report.paid_out_minor == -payouts

    def test_signs_say_which_way_the_money_went(self, bench: SettlementBench) -> None:
        """Charges come in, refunds and disputes go out; what was charged or refunded is never negative itself."""
        goes = {SettlementKind.REFUND, SettlementKind.DISPUTE, SettlementKind.CHARGE_RETURNED}
        comes = {SettlementKind.CHARGE, SettlementKind.REFUND_RETURNED, SettlementKind.DISPUTE_RETURNED}

        for line in _read(bench, bench.report()).lines:
            assert line.amount.amount_minor >= 0
            assert line.kind not in goes or line.settled_minor <= 0
            assert line.kind not in comes or line.settled_minor >= 0
            assert line.kind not in goes | comes or line.charge_ref or line.operation_ref
            assert line.occurred_at.tzinfo is not None

    def test_the_same_report_again_is_the_same(self, bench: SettlementBench) -> None:
        """Under the same name, with lines of the same names: it is known to have come before."""
        first, again = (_read(bench, bench.report()) for _ in range(2))

        refs = [line.ref for line in first.lines]
        assert first == again
        assert first.report_ref
        assert len(refs) == len(set(refs))

    @pytest.mark.parametrize("content", NO_REPORTS, ids=range(len(NO_REPORTS)))
    def test_what_is_no_report_is_refused(self, bench: SettlementBench, content: bytes) -> None:
        """By `SettlementUnreadable` and never another exception: people upload the wrong file."""
        with pytest.raises(SettlementUnreadable):
            bench.gateway.read_settlement(content)

    def test_a_line_that_can_not_be_read_is_named(self, bench: SettlementBench) -> None:
        """All of it or nothing, and whoever uploaded it finds the line."""
        broken = bench.broken_report()

        with pytest.raises(SettlementUnreadable) as refusal:
            bench.gateway.read_settlement(broken.content)

        assert refusal.value.line == broken.line

    def test_half_a_report_is_refused_or_shorter(self, bench: SettlementBench) -> None:
        """An upload that broke off ends in a refusal, or in a report that doesn't add up; never in a crash."""
        content = bench.report()
        whole = _read(bench, content)

        for at in range(0, len(content), max(1, len(content) // 50)):
            try:
                part = bench.gateway.read_settlement(content[:at])
            except SettlementUnreadable:
                continue
            assert len(part.lines) <= len(whole.lines)


def _read(bench: SettlementBench, content: bytes) -> ReportedSettlement:
    report: ReportedSettlement = CHECKS["read_settlement"](bench.gateway.read_settlement(content))
    return report
