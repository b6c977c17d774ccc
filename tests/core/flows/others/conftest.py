"""A merchant with three gateways that answer as they are told to and tell whatever a test has them tell."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from recoup_core.domain.capture import Capture, CaptureState
from recoup_core.domain.casefile import CaseFile
from recoup_core.domain.decline import Decline, DeclineSource
from recoup_core.domain.money import Money
from recoup_core.domain.payment import CredentialRole, Customer, Method, Network
from recoup_core.flows.context import locked_cases
from recoup_core.flows.intake import receive_webhook
from recoup_core.flows.operate import By
from recoup_core.flows.recover import Opened, open_case
from recoup_core.flows.reports import FailureReport, PriorAttempt, ReportedCredential
from recoup_core.ports import (
    Capabilities,
    CaptureNews,
    ChargeOutcome,
    ChargeRequest,
    Declined,
    FoundCharge,
    GatewayEvent,
    NotFound,
    ReportedFailure,
    Succeeded,
)
from recoup_core.reference import classify
from recoup_core.rules.engine.compile import compile_policy
from recoup_core.rules.language.schema import parse_policy
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.settings import GatewayEntry, Settings
from recoup_core.storage.engine import Database
from recoup_core.storage.ledger_checks import verify_ledger
from recoup_core.storage.refunds import load_accounts
from recoup_core.telemetry import Metrics
from recoup_core.wiring import Service

LEASE = timedelta(seconds=120)
MAX_ROUNDS = 300

DAILY = """
kind: retry
name: daily
applies_to: {method: card}
rules:
  - {name: daily, when: {retryable: yes}, retry: {after: [1d, 1d, 1d, 1d]}}
  - {name: give up, stop: exhausted}
examples:
  - {given: {decline: insufficient_funds, retryable: yes}, expect: daily}
  - {given: {retryable: no}, expect: give up}
"""

REFUNDS = """
kind: refund
name: all
applies_to: {purpose: refund}
rules:
  - {name: much, when: {amount: {gt: {EUR: 10.00}}}, review: {levels: [[support_lead]]}}
  - {name: pays, approve: {within: 400d}, otherwise: {deny: too_old}}
examples:
  - {given: {amount: {EUR: 11.00}, payment_amount: {EUR: 11.00}}, expect: much}
  - {given: {amount: {EUR: 5.00}}, expect: pays}
"""


def declined_with(code: str = "insufficient_funds", network: Network | None = Network.VISA) -> Decline:
    """A decline in Stripe's words."""
    return classify(DeclineSource.STRIPE, code, network=network)


class Wire:
    """A gateway that answers charges from a list, and passes on the events it is handed as they are."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.capabilities = Capabilities(
            methods=frozenset(Method), key_lifetime=timedelta(hours=24), finds_charges=True, refunds=True, voids=True
        )
        self.answers: list[ChargeOutcome | BaseException] = []
        """For the next charges, in order; without, they are declined."""
        self.found: list[FoundCharge] = []
        self.requests: list[ChargeRequest] = []

    async def charge(self, request: ChargeRequest) -> ChargeOutcome:
        """Answer as told, each charge on an object and under a try of its own."""
        self.requests.append(request)
        number = len(self.requests)
        if not self.answers:
            ref, try_ref = f"{self.name}_pi_{number}", f"{self.name}_try_{number}"
            return Declined(decline=declined_with(), gateway_ref=ref, try_ref=try_ref)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def find_charge(self, request: ChargeRequest) -> FoundCharge:
        """Say what was put there to be found."""
        return self.found.pop(0) if self.found else NotFound()

    def parse_event(self, headers: Mapping[str, str], body: bytes) -> Sequence[GatewayEvent]:
        """Believe every body."""
        return [msgspec.json.decode(body, type=GatewayEvent)]

    async def health(self) -> None:
        """Always well."""

    async def refund(self, request: Any) -> Any:
        """No refund leaves in these tests."""
        raise AssertionError("no refund is sent here")

    find_refund = refund


class Market:
    """The merchant, and what its gateways say."""

    def __init__(self, service: Service, gateways: Mapping[str, Wire], clock: Any) -> None:
        self.service, self.context, self.clock = service, service.context, clock
        self.gateways = gateways
        self.a, self.b = gateways["a"], gateways["b"]
        self._numbers = itertools.count(1)

    def by(self) -> By:
        """An operator of this merchant."""
        return By(merchant_id="default", actor="operator:anna", principal="anna")

    def credential(self, token: str, gateway: str = "a", **fields: Any) -> ReportedCredential:
        """A card at a gateway."""
        known = {"method": Method.CARD, "network": Network.VISA, "fingerprint": f"{gateway}-{token}"}
        return ReportedCredential(gateway=gateway, token=token, **(known | fields))

    def report(self, *credentials: ReportedCredential, code: str = "insufficient_funds", **fields: Any) -> Any:
        """A failed payment of 19.99 whose object at gateway a is `pi_0`."""
        number = next(self._numbers)
        known: dict[str, Any] = {
            "merchant_id": "default",
            "reference": f"inv-{number}",
            "amount_minor": 1999,
            "currency": "EUR",
            "customer": Customer(ref=f"cus-{number}", country="DE"),
            "gateway": "a",
            "gateway_ref": "pi_0",
            "method": Method.CARD,
            "credentials": credentials or (self.credential("card"),),
            "attempts": (PriorAttempt(at=self.clock.now(), decline=declined_with(code), gateway_ref="pi_0"),),
        }
        return FailureReport(**(known | fields))

    async def open(self, *credentials: ReportedCredential, **fields: Any) -> Opened:
        """Report a failed payment."""
        return await open_case(self.context, self.report(*credentials, **fields), "key:shop", "corr-1")

    async def run_due(self) -> None:
        """Run everything that is due, and what that makes due."""
        for _ in range(MAX_ROUNDS):
            refs = await self.service.jobs.claim(self.clock.now(), 100, LEASE)
            if not refs:
                return
            await self.service.run_jobs(refs)
        raise AssertionError("the jobs never end")

    async def day(self, days: float = 1) -> None:
        """Let time pass and do what has become due."""
        self.clock.advance(timedelta(days=days, minutes=1))
        await self.run_due()

    async def tell(self, gateway: str = "a", **event: Any) -> None:
        """Have a gateway tell of something, and apply it."""
        known: dict[str, Any] = {"kind": "told", "occurred_at": self.clock.now(), "payload": {}}
        known["external_id"] = f"evt_{next(self._numbers)}"
        body = msgspec.json.encode(GatewayEvent(**(known | event)))
        await receive_webhook(self.context, gateway, {}, body, "corr-hook")
        await self.run_due()

    async def failed(
        self, reference: str, *, ref: str = "pi_9", try_ref: str | None = None, gateway: str = "a", **fields: Any
    ) -> None:
        """Have a gateway tell that somebody tried a debt in vain."""
        event = {key: fields.pop(key) for key in ("occurred_at", "attempt_id", "external_id") if key in fields}
        decline = fields.pop("decline", declined_with())
        failure = ReportedFailure(
            payment_reference=reference,
            amount=Money(1999, "EUR"),
            method=Method.CARD,
            **({"customer_ref": f"cus-{reference}", "token": "card", "network": Network.VISA} | fields),
        )
        outcome = Declined(decline=decline, gateway_ref=ref, try_ref=try_ref)
        await self.tell(gateway, gateway_ref=ref, outcome=outcome, failure=failure, **event)

    async def goes_on(self, reference: str, *, gateway: str = "a", **fields: Any) -> None:
        """Have a gateway tell who tries a debt again, in an event that tells no try of its own."""
        known = {"customer_ref": f"cus-{reference}", "debt_ref": reference, "method": Method.CARD}
        failure = ReportedFailure(payment_reference=reference, amount=Money(1999, "EUR"), **(known | fields))
        await self.tell(gateway, gateway_ref=None, failure=failure)

    async def succeeded(self, ref: str, *, try_ref: str | None = None, gateway: str = "a", **event: Any) -> None:
        """Have a gateway tell that 19.99 came in."""
        outcome = Succeeded(gateway_ref=ref, amount=Money(1999, "EUR"), try_ref=try_ref)
        await self.tell(gateway, gateway_ref=ref, outcome=outcome, **event)

    async def returned(self, ref: str, *, decline: Decline | None = None, gateway: str = "a", **event: Any) -> None:
        """Have a gateway tell that a charge of 19.99 came back."""
        news = CaptureNews(charge_ref=ref, amount=Money(1999, "EUR"), standing=CaptureState.RETURNED, decline=decline)
        await self.tell(gateway, capture=news, **event)

    async def file(self, payment_id: UUID) -> CaseFile:
        """Everything known of a payment."""
        async with locked_cases(self.context, [payment_id]) as locked:
            draft = locked.draft(payment_id, "test", None)
            assert draft is not None
            return draft.file

    async def captures(self, payment_id: UUID) -> list[Capture]:
        """A payment's captures, the oldest first."""
        async with self.service.database.connection() as connection:
            return list((await load_accounts(connection, [payment_id]))[payment_id].captures)

    async def rows(self, sql: str, *values: Any) -> list[Any]:
        """Ask the database directly."""
        async with self.service.database.connection() as connection:
            return list(await connection.fetch(sql, *values))

    async def told(self, kind: str) -> list[dict[str, Any]]:
        """What events of one kind say."""
        rows = await self.rows("SELECT data FROM event WHERE kind = $1 ORDER BY id", kind)
        return [msgspec.json.decode(row["data"]) for row in rows]

    async def tasks(self) -> list[str]:
        """The kinds of what waits for a person."""
        rows = await self.rows("SELECT kind FROM human_task WHERE resolved_at IS NULL ORDER BY id")
        return [row["kind"] for row in rows]

    async def payment_of(self, reference: str) -> UUID | None:
        """The payment by that reference, if there is one."""
        rows = await self.rows("SELECT id FROM payment WHERE reference = $1", reference)
        return rows[0]["id"] if rows else None

    async def books_hold(self) -> None:
        """The ledger says what the rows say, to the cent."""
        verified = await verify_ledger(self.service.database)
        assert verified.fault is None, verified.fault


@pytest.fixture
async def market_with(database_url: str, clock: Any) -> AsyncIterator[Callable[..., Awaitable[Market]]]:
    """Opens markets: `await market_with(policy, ..., a={"retries_by": "gateway"})`."""
    async with AsyncExitStack() as opened:

        async def market(*texts: str, **rules: Mapping[str, Any]) -> Market:
            texts = texts or (DAILY, REFUNDS)
            policies = [parse_policy(text, source=f"{number}.yaml") for number, text in enumerate(texts)]
            book = PolicyBook(compile_policy(policy) for policy in policies)
            gateways = {name: Wire(name) for name in ("a", "b", "c")}
            entries = tuple(GatewayEntry(name=name, plugin="wire", **rules.get(name, {})) for name in gateways)
            service = Service(Settings(gateways=entries), Database(database_url), gateways, book, Metrics(), clock)
            await service.open()
            opened.push_async_callback(service.close)
            return Market(service, gateways, clock)

        yield market


@pytest.fixture
async def market(market_with: Callable[..., Awaitable[Market]]) -> Market:
    """A market whose failed payments are tried daily, four times."""
    return await market_with()


@pytest.fixture
def decline() -> Callable[..., Decline]:
    """`decline("stolen_card")` is that decline."""
    return declined_with


@pytest.fixture
def customer() -> Callable[[str], Customer]:
    """`customer("cus-1")` is a customer in Germany."""
    return lambda ref: Customer(ref=ref, country="DE")


@pytest.fixture
def backup() -> CredentialRole:
    """The role of a second card."""
    return CredentialRole.BACKUP


@pytest.fixture
def earlier(clock: Any) -> Callable[[timedelta], datetime]:
    """`earlier(timedelta(hours=1))` is an hour ago."""
    return lambda by: clock.now() - by
