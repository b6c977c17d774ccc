"""The kit for the optional parts passes a gateway that keeps them, and notices one that does not."""

import csv
import io
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from tests.plugins.nasty import Foreign

from recoup_core.domain.ids import new_id
from recoup_plugins import (
    ChargeRequest,
    Declined,
    DeclineSource,
    EventPage,
    GatewayEvent,
    GatewaySettings,
    Method,
    Money,
    NoLink,
    ReportedSettlement,
    SettledLine,
    SettlementKind,
    SettlementUnreadable,
    StoredCredential,
    Succeeded,
    UpdateLink,
    UpdateLinkRequest,
    WebhookAnswer,
    classify,
)
from recoup_plugins.conformance import SignedWebhook
from recoup_plugins.optional_conformance import (
    BrokenReport,
    CredentialConformance,
    EventListConformance,
    Happened,
    LinkConformance,
    SameObjectConformance,
    SettlementConformance,
    WebhookAnswerConformance,
)

HEAD = ["ref", "kind", "amount", "settled", "fee", "charge"]
ROWS = [
    ["b1", "charge", "1999", "1999", "30", "ch_1"],
    ["b2", "charge", "500", "500", "10", "ch_2"],
    ["b3", "refund", "500", "-500", "0", "ch_2"],
    ["b4", "payout", "1959", "-1959", "0", ""],
]


def as_csv(rows: Sequence[Sequence[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows([HEAD, *rows])
    return out.getvalue().encode()


class Whole(Foreign):
    """A provider and its gateway in one, with every optional part."""

    page = 2

    def __init__(self) -> None:
        super().__init__(GatewaySettings(name="whole", plugin="whole"))
        self.capabilities = msgspec.structs.replace(
            Foreign.capabilities,
            update_links=True,
            refunds=False,
            webhook_answer=WebhookAnswer(content_type="text/plain", body="[accepted]"),
        )
        self.is_away = False
        self.wallets: dict[str, list[str]] = {}
        self.pages: dict[str, str] = {}
        self.events: list[tuple[datetime, str]] = []
        self.debts: dict[str, dict[str, Any]] = {}
        self.answers: dict[str, Any] = {}

    def reached(self) -> None:
        if self.is_away:
            raise ConnectionError("away")

    async def list_credentials(self, gateway_customer: str) -> Any:
        self.reached()
        tokens = self.wallets.get(gateway_customer, [])
        return [StoredCredential(token=t, gateway_customer=gateway_customer, method=Method.CARD) for t in tokens]

    async def update_link(self, request: UpdateLinkRequest) -> Any:
        self.reached()
        if request.gateway_customer is None:
            return NoLink(reason="no such customer")
        url = self.pages.setdefault(request.idempotency_key, f"https://pay.example/{len(self.pages)}")
        return UpdateLink(url=url, pays=True, expires_at=request.expires_at)

    async def list_events(self, since: datetime, cursor: str | None) -> Any:
        self.reached()
        ids = [name for at, name in self.events if at >= since]
        start = int(cursor or 0)
        events = tuple(event_of(name) for name in ids[start : start + self.page])
        more = start + self.page < len(ids)
        return EventPage(events=events, cursor=str(start + self.page) if more else None)

    def parse_event(self, headers: Any, body: bytes) -> Any:
        return [event_of(json.loads(body)["id"])]

    def read_settlement(self, content: bytes) -> Any:
        try:
            head, *rows = list(csv.reader(io.StringIO(content.decode())))
        except (ValueError, csv.Error):
            raise SettlementUnreadable("it is no CSV") from None
        if head != HEAD:
            raise SettlementUnreadable("its head is another one", line=1)
        lines = tuple(line_of(number, row) for number, row in enumerate(rows, 2))
        earned = sum(e.settled_minor - e.fee_minor for e in lines if e.kind is not SettlementKind.PAYOUT)
        return ReportedSettlement(report_ref="po_1", currency="EUR", lines=lines, paid_out_minor=earned)

    async def charge(self, request: ChargeRequest) -> Any:
        if request.idempotency_key not in self.answers:
            self.answers[request.idempotency_key] = self.tried(self.debts[request.debt_ref or ""], request)
        return self.answers[request.idempotency_key]

    def tried(self, debt: dict[str, Any], request: ChargeRequest) -> Any:
        debt["tries"] += 1
        ref = f"try_{debt['tries']}"
        if debt["paid"] or debt["tries"] <= debt["declines"]:
            return Declined(decline=classify(DeclineSource.ISO8583, "51"), gateway_ref="in_1", try_ref=ref)
        debt["paid"] += request.amount.amount_minor
        return Succeeded(gateway_ref="in_1", amount=request.amount, try_ref=ref)


def event_of(name: str) -> GatewayEvent:
    return GatewayEvent(external_id=name, kind="charge.paid", occurred_at=datetime.now(UTC), payload={})


def line_of(number: int, row: list[str]) -> SettledLine:
    try:
        ref, kind, amount, settled, fee, charge = row
        return SettledLine(
            ref=ref,
            kind=SettlementKind(kind),
            amount=Money(int(amount), "EUR"),
            settled_minor=int(settled),
            fee_minor=int(fee),
            charge_ref=charge or None,
            occurred_at=datetime(2026, 11, 23, tzinfo=UTC),
        )
    except ValueError:
        raise SettlementUnreadable("it can't be read", line=number) from None


class WholeBench:
    """All the benches in one."""

    wanted = WebhookAnswer(content_type="text/plain", body="[accepted]")
    per_page = Whole.page

    def __init__(self, gateway: Any = None) -> None:
        self.gateway: Any = gateway or Whole()
        self.clock = datetime(2026, 11, 23, tzinfo=UTC)

    def customer(self, stored: int) -> tuple[str, Sequence[str]]:
        self.gateway.wallets["cus_1"] = [f"tok_{number}" for number in range(stored)]
        return "cus_1", self.gateway.wallets["cus_1"]

    def unknown_customer(self) -> str:
        return "cus_nobody"

    def away(self) -> None:
        self.gateway.is_away = True

    def link_request(self, *, possible: bool) -> UpdateLinkRequest:
        return UpdateLinkRequest(
            idempotency_key=f"key-{new_id()}",
            payment_id=new_id(),
            payment_reference="INV-1",
            amount=Money(1999, "EUR"),
            method=Method.CARD,
            customer_ref="c1",
            gateway_customer="cus_1" if possible else None,
            expires_at=datetime.now(UTC) + timedelta(days=7),
        )

    def happen(self, count: int) -> Happened:
        self.clock += timedelta(hours=1)
        names = [f"evt_{len(self.gateway.events) + number}" for number in range(count)]
        self.gateway.events += [(self.clock, name) for name in names]
        webhooks = [SignedWebhook({}, json.dumps({"id": name}).encode()) for name in names]
        return Happened(self.clock, webhooks)

    def report(self) -> bytes:
        return as_csv(ROWS)

    def broken_report(self) -> BrokenReport:
        return BrokenReport(as_csv([*ROWS[:2], ["b3", "refund", "5,00", "-500", "0", "ch_2"]]), 4)

    def debt(self, amount: Money, *, declines: int) -> ChargeRequest:
        self.gateway.debts = {"in_1": {"declines": declines, "tries": 0, "paid": 0}}
        attempt = new_id()
        return ChargeRequest(
            idempotency_key=f"key-{attempt}",
            attempt_id=attempt,
            payment_reference="INV-1",
            amount=amount,
            method=Method.CARD,
            token="tok_1",
            first_sent_at=datetime.now(UTC),
            debt_ref="in_1",
        )

    def next_try(self, request: ChargeRequest) -> ChargeRequest:
        attempt = new_id()
        return msgspec.structs.replace(request, attempt_id=attempt, idempotency_key=f"key-{attempt}", number=2)

    def payable(self, request: ChargeRequest) -> int:
        return len(self.gateway.debts)

    def moved(self, request: ChargeRequest) -> Money | None:
        paid = sum(debt["paid"] for debt in self.gateway.debts.values())
        return Money(paid, request.amount.currency) if paid else None


class TestCredentials(CredentialConformance):
    @pytest.fixture
    def bench(self) -> WholeBench:
        return WholeBench()


class TestLinks(LinkConformance):
    @pytest.fixture
    def bench(self) -> WholeBench:
        return WholeBench()


class TestEvents(EventListConformance):
    @pytest.fixture
    def bench(self) -> WholeBench:
        return WholeBench()


class TestSettlement(SettlementConformance):
    @pytest.fixture
    def bench(self) -> WholeBench:
        return WholeBench()


class TestWebhookAnswer(WebhookAnswerConformance):
    @pytest.fixture
    def bench(self) -> WholeBench:
        return WholeBench()


class TestSameObject(SameObjectConformance):
    @pytest.fixture
    def bench(self) -> WholeBench:
        return WholeBench()


# --- the kit itself ---------------------------------------------------------------------------------------------------


class Forgetful(Whole):
    """Says "nothing" where it could not ask, and lists in any order."""

    def reached(self) -> None: ...

    async def list_credentials(self, gateway_customer: str) -> Any:
        return [] if self.is_away else list(reversed(await super().list_credentials(gateway_customer)))


class NewPageEachTime(Whole):
    async def update_link(self, request: UpdateLinkRequest) -> Any:
        return UpdateLink(url=f"http://pay.example/{new_id()}", pays=True)


class LosesPages(Whole):
    """Leaves one event out where pages meet, and everything after a failure."""

    async def list_events(self, since: datetime, cursor: str | None) -> Any:
        if self.is_away:
            return EventPage(events=())
        page = await super().list_events(since, cursor)
        return msgspec.structs.replace(page, events=page.events[1:] if cursor else page.events)


class NeverEnds(Whole):
    async def list_events(self, since: datetime, cursor: str | None) -> Any:
        return EventPage(events=(), cursor="again")


class Rounds(Whole):
    """Reads what it can, and makes up the rest."""

    def read_settlement(self, content: bytes) -> Any:
        try:
            report = super().read_settlement(content)
        except SettlementUnreadable:
            return ReportedSettlement(report_ref="", currency="EUR", lines=())
        first, *rest = report.lines
        wrong = msgspec.structs.replace(first, settled_minor=-first.settled_minor)
        return msgspec.structs.replace(report, lines=(wrong, *rest), report_ref=str(new_id()))


class Crashes(Whole):
    def read_settlement(self, content: bytes) -> Any:
        return content.decode().splitlines()[5]


class SecondObject(Whole):
    """Makes another object for each try, and collects a paid debt again."""

    async def charge(self, request: ChargeRequest) -> Any:
        debt = {"declines": 0, "tries": 0, "paid": 0}
        self.debts[str(new_id())] = debt
        return self.tried(debt, request)


class OneTry(Whole):
    """Tells all tries by one name."""

    def tried(self, debt: dict[str, Any], request: ChargeRequest) -> Any:
        return msgspec.structs.replace(super().tried(debt, request), try_ref="try_always")


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (Forgetful, lambda b: CredentialConformance().test_not_being_able_to_ask_is_no_empty_list(b)),
        (
            Forgetful,
            lambda b: CredentialConformance().test_all_stored_means_are_listed_the_preferred_one_first(b, 3),
        ),
        (NewPageEachTime, lambda b: LinkConformance().test_the_same_key_gives_the_same_page(b)),
        (NewPageEachTime, lambda b: LinkConformance().test_a_link_leads_to_a_page_that_works_now(b)),
        (NewPageEachTime, lambda b: LinkConformance().test_no_page_is_a_value_with_its_reason(b)),
        (NewPageEachTime, lambda b: LinkConformance().test_not_being_able_to_ask_is_raised(b)),
        (
            LosesPages,
            lambda b: EventListConformance().test_every_event_is_on_one_page_under_the_id_of_its_webhook(b, 3),
        ),
        (LosesPages, lambda b: EventListConformance().test_not_being_able_to_ask_is_no_empty_page(b)),
        (NeverEnds, lambda b: EventListConformance().test_what_was_before_is_left_out(b)),
        (SecondObject, lambda b: SameObjectConformance().test_a_debt_is_collected_on_its_own_object(b)),
        (SecondObject, lambda b: SameObjectConformance().test_a_debt_that_is_paid_is_not_collected_again(b)),
        (SecondObject, lambda b: SameObjectConformance().test_the_same_key_never_makes_a_second_try(b)),
        (OneTry, lambda b: SameObjectConformance().test_tries_on_one_object_are_told_apart(b)),
    ],
)
async def test_a_gateway_that_does_not_keep_a_part_is_found(
    wrong: type[Whole], test: Callable[[WholeBench], Awaitable[None]]
) -> None:
    """Each test of the kit can fail."""
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await test(WholeBench(wrong()))


KIT = SettlementConformance()


@pytest.mark.parametrize(
    ("wrong", "test", "raises"),
    [
        (Rounds, KIT.test_a_report_adds_up, AssertionError),
        (Rounds, KIT.test_signs_say_which_way_the_money_went, AssertionError),
        (Rounds, KIT.test_the_same_report_again_is_the_same, AssertionError),
        (Rounds, lambda b: KIT.test_what_is_no_report_is_refused(b, b"{"), pytest.fail.Exception),
        (Rounds, KIT.test_a_line_that_can_not_be_read_is_named, pytest.fail.Exception),
        (Crashes, lambda b: KIT.test_what_is_no_report_is_refused(b, b"{"), IndexError),
        (Crashes, KIT.test_half_a_report_is_refused_or_shorter, Exception),
    ],
)
def test_a_gateway_that_reads_reports_wrong_is_found(
    wrong: type[Whole], test: Callable[[WholeBench], None], raises: type[BaseException]
) -> None:
    """Made-up lines, other signs, other names, crashes."""
    with pytest.raises(raises):
        test(WholeBench(wrong()))


def test_another_answer_to_webhooks_is_found() -> None:
    """The provider would send for days."""
    bench = WholeBench()
    bench.gateway.capabilities = msgspec.structs.replace(bench.gateway.capabilities, webhook_answer=WebhookAnswer())

    with pytest.raises(AssertionError):
        WebhookAnswerConformance().test_the_provider_hears_what_it_wants(bench)
