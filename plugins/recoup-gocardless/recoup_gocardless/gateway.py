"""The GoCardless gateway: one account, bank debits only. What each answer means stands in `charging` and `refunds`.

Nothing here talked to a live GoCardless account; it is tested against a fake of its documented objects (`tests`).
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from recoup_gocardless import charging, customers, feed, refunds, settlement, webhooks
from recoup_gocardless.calls import Calls, nothing_else_is_certain
from recoup_gocardless.objects import SCHEMES
from recoup_gocardless.options import GoCardlessOptions
from recoup_plugins import (
    Capabilities,
    ChargeOutcome,
    ChargeRequest,
    EventPage,
    FoundCharge,
    FoundRefund,
    GatewayEvent,
    LinkAnswer,
    RefundOutcome,
    RefundRequest,
    ReportedSettlement,
    StoredCredential,
    UpdateLinkRequest,
    WebhookAnswer,
    refund_rules,
)

KEY_LIFETIME: Final = timedelta(hours=23)
"""GoCardless keeps keys for "short periods of time" and says no more (developer.gocardless.com/api-reference:
idempotency keys); less than a day is relied on. What was made can be found for much longer."""

FIND_LAG: Final = timedelta(minutes=2)
"""A call that we stopped waiting for may still be running at GoCardless."""

WEBHOOK_ANSWER: Final = WebhookAnswer(status=204, body="", refused_status=498)
"""As in developer.gocardless.com/getting-started/staying-up-to-date-with-webhooks; they wait 10 s for it."""

HEALTH_TIMEOUT_S: Final = 5.0


class GoCardlessGateway:
    """One GoCardless account."""

    def __init__(self, name: str, options: GoCardlessOptions) -> None:
        self.name = name
        self.capabilities = Capabilities(
            methods=frozenset(SCHEMES),
            key_lifetime=KEY_LIFETIME,
            finds_charges=True,
            find_lag=FIND_LAG,
            refunds=True,
            finds_refunds=True,
            refund_find_lag=FIND_LAG,
            refund_windows=refund_rules("gocardless").limits,
            lists_credentials=True,
            update_links=True,
            lists_events=True,
            reads_settlements=True,
            fetches_settlements=True,
            retries_itself=options.success_plus,
            webhook_answer=WEBHOOK_ANSWER,
        )
        self._options = options
        self._calls = Calls(options)

    async def charge(self, request: ChargeRequest) -> ChargeOutcome:
        """Retry the payment that failed, or make a new one on the mandate; see `charging`."""
        return await charging.charge(self._calls, request, success_plus=self._options.success_plus)

    async def find_charge(self, request: ChargeRequest) -> FoundCharge:
        """Find the attempt among the tries of its payment, or among the mandate's payments since it was sent."""
        return await charging.find(self._calls, request)

    async def refund(self, request: RefundRequest) -> RefundOutcome:
        """Refund a payment, in whole or in part; see `refunds`."""
        return await refunds.refund(self._calls, request)

    async def find_refund(self, request: RefundRequest) -> FoundRefund:
        """Find the part's refund by its id, or among those of its payment."""
        return await refunds.find(self._calls, request)

    def parse_event(self, headers: Mapping[str, str], body: bytes) -> Sequence[GatewayEvent]:
        """Verify one webhook of GoCardless and translate each of its events."""
        webhooks.verify(headers, body, self._options.webhook_secrets)
        return webhooks.read_events(body)

    async def list_events(self, since: datetime, cursor: str | None) -> EventPage:
        """Return a page of what happened, with what the objects of the events add to it."""
        return await feed.list_events(self._calls, since, cursor)

    async def list_credentials(self, gateway_customer: str) -> Sequence[StoredCredential]:
        """Return the customer's mandates that can be used."""
        return await customers.list_credentials(self._calls, gateway_customer)

    async def update_link(self, request: UpdateLinkRequest) -> LinkAnswer:
        """Make a page of GoCardless's where the customer gives a new mandate."""
        return await customers.update_link(self._calls, request, self._options.return_url)

    def read_settlement(self, content: bytes) -> ReportedSettlement:
        """Read the dashboard's export of one payout's transactions."""
        return settlement.read_export(content)

    async def fetch_settlement(self, report_ref: str) -> ReportedSettlement:
        """Fetch a payout (`PO...`) with all that it is made of."""
        return await settlement.fetch(self._calls, report_ref)

    async def health(self) -> None:
        """List one creditor: authenticated and harmless."""
        with nothing_else_is_certain():
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                await self._calls.page("creditors", {"limit": 1})
