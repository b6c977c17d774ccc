"""A merchant at the sandbox's bank whose reports are taken in, and lines that a test makes up by itself."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from recoup_core.domain.money import Money
from recoup_core.domain.payment import Customer, Method
from recoup_core.domain.settlement import SettlementException, SettlementKind, SettlementLine
from recoup_core.flows.capture_reports import CaptureReport
from recoup_core.flows.captured import report_captured
from recoup_core.flows.settlement.importing import Imported, import_report, store_report
from recoup_core.flows.settlement.sweep import sweep_settlement
from recoup_core.ports import ReportedSettlement, SettledLine
from recoup_core.storage.ledger_checks import verify_ledger
from recoup_core.storage.settlement_exceptions import list_exceptions
from recoup_core.storage.settlements import list_lines

NO_PATIENCE = timedelta()


class Finance:
    """Brings reports in and looks at what became of them."""

    def __init__(self, shop: Any) -> None:
        self.shop = shop
        self.context = shop.context
        self.bank = shop.gateway.bank
        self._count = 0

    # -- what is there

    async def captured(self, amount_minor: int = 10_000, currency: str = "EUR") -> str:
        """A payment that was collected elsewhere and reported; returns the bank's name of its charge."""
        self._count += 1
        ref = f"sbx_reported_{self._count}"
        report = CaptureReport(
            merchant_id="default",
            reference=f"order-{self._count}",
            customer=Customer(ref=f"cus-{self._count}", country="DE"),
            amount_minor=amount_minor,
            currency=currency,
            gateway="sandbox",
            gateway_ref=ref,
            method=Method.CARD,
            captured_at=self.shop.clock.now(),
        )
        await report_captured(self.context, report, "key:shop", None)
        self.bank.hold(ref, report.reference, Money(amount_minor, currency))
        return ref

    # -- reports

    def line(self, ref: str, kind: SettlementKind, amount: Money, settled_minor: int, **fields: Any) -> SettledLine:
        """A line of a report."""
        at = fields.pop("occurred_at", self.shop.clock.now())
        return SettledLine(ref=ref, kind=kind, amount=amount, settled_minor=settled_minor, occurred_at=at, **fields)

    def charge(self, ref: str, charge_ref: str, minor: int = 10_000, fee_minor: int = 0, **fields: Any) -> SettledLine:
        """A line about a charge in euro."""
        amount = fields.pop("amount", Money(minor, "EUR"))
        return self.line(
            ref, SettlementKind.CHARGE, amount, minor, charge_ref=charge_ref, fee_minor=fee_minor, **fields
        )

    async def bring(self, *lines: SettledLine, report_ref: str = "R-1", **head: Any) -> Imported:
        """Take in a report of these lines, and match it."""
        report = ReportedSettlement(report_ref=report_ref, currency=head.pop("currency", "EUR"), lines=lines, **head)
        imported = await store_report(self.context, "sandbox", report, None, self.shop.by())
        await self.shop.run_due()
        return imported

    async def settle(self) -> Imported:
        """Let the bank close its books, bring its report in as a file, and match it."""
        content = self.bank.settlement_file(self.bank.settle())
        imported = await import_report(self.context, "sandbox", content, self.shop.by())
        await self.shop.run_due()
        return imported

    async def sweep(self) -> None:
        """One round of the sweep over settlement."""
        await sweep_settlement(self.context, self.shop.clock.now(), NO_PATIENCE, 100)
        await self.shop.run_due()

    # -- what became of it

    async def lines(self, **filters: Any) -> Sequence[SettlementLine]:
        """The stored lines, in the order of their ids."""
        found = await list_lines(self.context.database, "default", filters, None, 200)
        return sorted(found, key=lambda line: (str(line.report_id), line.number))

    async def exceptions(self, *, resolved: bool = False) -> list[SettlementException]:
        """The exceptions that wait, or that are resolved."""
        return await list_exceptions(self.context.database, "default", {}, None, 200, resolved=resolved)

    async def problems(self) -> list[str]:
        """The kinds of what waits, sorted."""
        return sorted(str(each.kind) for each in await self.exceptions())

    async def balances(self) -> dict[str, int]:
        """What every account stands at, by account and currency; those at nothing are left out."""
        rows = await self.shop.rows(
            "SELECT account || ' ' || currency AS account, sum(amount_minor)::bigint AS total"
            " FROM ledger_posting GROUP BY 1"
        )
        return {row["account"]: row["total"] for row in rows if row["total"]}

    async def adds_up(self) -> None:
        """The whole ledger passes its verification."""
        verified = await verify_ledger(self.context.database)
        assert verified.fault is None, verified.fault

    async def capture_id(self, charge_ref: str) -> UUID:
        """Our id of a charge."""
        [row] = await self.shop.rows("SELECT id FROM capture WHERE gateway_ref = $1", charge_ref)
        found: UUID = row["id"]
        return found


@pytest.fixture
def finance(shop: Any) -> Finance:
    """The merchant's finance team."""
    return Finance(shop)
