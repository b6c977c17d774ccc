"""The sandbox's bank closes its books: every movement stands in one report, and the payout is what they come to."""

from typing import Any

import pytest

from recoup_core.domain.dispute import DisputeState
from recoup_core.domain.money import Money
from recoup_core.domain.settlement import SettlementKind
from recoup_core.ports import SettlementUnreadable
from recoup_plugins.gateways.sandbox import SandboxGateway, SandboxOptions
from recoup_plugins.gateways.sandbox_events import read_event

EUR = "EUR"


@pytest.fixture
def gateway(clock: Any) -> SandboxGateway:
    """A private bank with one charge of 100.00."""
    made = SandboxGateway("sandbox", SandboxOptions(clock=clock))
    made.bank.hold("sbx_reported_1", "order-1", Money(10_000, EUR))
    return made


def kinds(gateway: SandboxGateway) -> list[str]:
    """Close the books and return what the report tells of, the payout left out."""
    report = gateway.bank.settlement(gateway.bank.settle())
    net = sum(line.settled_minor - line.fee_minor for line in report.lines if line.kind is not SettlementKind.PAYOUT)
    assert net == report.paid_out_minor
    return [str(line.kind) for line in report.lines if line.kind is not SettlementKind.PAYOUT]


def test_each_movement_is_told_once(gateway: SandboxGateway) -> None:
    """In the report that follows it; a dispute that came and went in between did nothing."""
    told = [kinds(gateway)]
    refund = gateway.bank.refund_elsewhere("sbx_reported_1", Money(1_000, EUR))
    told.append(kinds(gateway))
    gateway.bank.take_back(refund)
    dispute = gateway.bank.open_dispute("sbx_reported_1", fee_minor=1_500)
    told.append(kinds(gateway))
    gateway.bank.move_dispute(dispute, DisputeState.WON)
    told.append(kinds(gateway))
    gateway.bank.open_dispute("sbx_reported_1", standing=DisputeState.INQUIRY)
    told.append(kinds(gateway))

    assert told == [["charge"], ["refund"], ["refund_returned", "dispute"], ["dispute_returned"], []]


async def test_a_report_is_read_as_it_is_fetched(gateway: SandboxGateway) -> None:
    """The file of its site and the call say the same; another name, or another file, is refused."""
    name = gateway.bank.settle()

    fetched = await gateway.fetch_settlement(name)

    assert gateway.read_settlement(gateway.bank.settlement_file(name)) == fetched
    with pytest.raises(SettlementUnreadable):
        await gateway.fetch_settlement("sbs_nothing")
    with pytest.raises(SettlementUnreadable):
        gateway.read_settlement(b'{"report_ref": 1}')


def test_a_report_is_announced(gateway: SandboxGateway) -> None:
    """By a webhook that names it."""
    name = gateway.bank.settle()

    [event] = [read_event(each.body) for each in gateway.bank.due_deliveries(100)]

    assert event.settlement is not None
    assert (event.kind, event.settlement.report_ref) == ("settlement.ready", name)
