"""The optional parts of the contract as tests: take the classes that your capabilities promise.

    class TestMySettlement(SettlementConformance):
        @pytest.fixture
        def bench(self) -> SettlementBench:
            return MySettlementBench()

`CredentialConformance` (lists_credentials), `LinkConformance` (update_links), `EventListConformance` (lists_events),
`SettlementConformance` (reads_settlements), `WebhookAnswerConformance`, and `SameObjectConformance` for gateways that
collect on an object of the debt (`ChargeRequest.debt_ref`). What each bench must do stands in `optional_bench`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar, Final
from urllib.parse import urlsplit

import pytest

from recoup_core.flows.guard import Unknown, charge_guarded
from recoup_plugins import (
    ChargeOutcome,
    ChargeRequest,
    Declined,
    EventGateway,
    GatewayEvent,
    Money,
    NoLink,
    Succeeded,
    UpdateLink,
    UpdateLinkRequest,
    WebhookAnswer,
)
from recoup_plugins.hosting_answers import CHECKS
from recoup_plugins.optional_bench import (
    BrokenReport,
    CredentialBench,
    EventListBench,
    Happened,
    LinkBench,
    SameObjectBench,
    SettlementBench,
    WebhookAnswerBench,
)
from recoup_plugins.settlement_conformance import OptionalConformance, SettlementConformance

__all__ = [
    "BrokenReport",
    "CredentialBench",
    "CredentialConformance",
    "EventListBench",
    "EventListConformance",
    "Happened",
    "LinkBench",
    "LinkConformance",
    "SameObjectBench",
    "SameObjectConformance",
    "SettlementBench",
    "SettlementConformance",
    "WebhookAnswerBench",
    "WebhookAnswerConformance",
]

MAX_PAGES: Final = 100
"""Pages walked before a list of events counts as endless."""


class CredentialConformance(OptionalConformance):
    """A policy's backup is looked for among what this lists."""

    @pytest.mark.asyncio
    @pytest.mark.parametrize("stored", [0, 1, 3])
    async def test_all_stored_means_are_listed_the_preferred_one_first(
        self, bench: CredentialBench, stored: int
    ) -> None:
        """Each once, in the order in which a backup is chosen, and with the customer it belongs to."""
        customer, tokens = bench.customer(stored)

        listed = CHECKS["list_credentials"](await bench.gateway.list_credentials(customer))

        assert bench.gateway.capabilities.lists_credentials
        assert [one.token for one in listed] == list(tokens)
        assert all(one.method in bench.gateway.capabilities.methods for one in listed)
        assert all(one.gateway_customer in (None, customer) for one in listed)

    @pytest.mark.asyncio
    async def test_a_customer_nobody_knows_has_nothing(self, bench: CredentialBench) -> None:
        """Nothing, or an error; never another customer's."""
        try:
            listed = await bench.gateway.list_credentials(bench.unknown_customer())
        except Exception:  # whatever a gateway raises is "unsure", which is as good
            return
        assert list(listed) == []

    @pytest.mark.asyncio
    async def test_not_being_able_to_ask_is_no_empty_list(self, bench: CredentialBench) -> None:
        """An empty list would end a case as if the customer had no other card."""
        customer, _ = bench.customer(1)
        bench.away()

        with pytest.raises(Exception):  # noqa: B017, PT011 # whatever a gateway raises is "unsure"
            await bench.gateway.list_credentials(customer)


class LinkConformance(OptionalConformance):
    """Messages to customers carry these links."""

    @pytest.mark.asyncio
    async def test_a_link_leads_to_a_page_that_works_now(self, bench: LinkBench) -> None:
        """Over TLS (loopback aside), and not expired already."""
        request = bench.link_request(possible=True)

        link = await _link(bench, request)

        parts = urlsplit(link.url)
        assert parts.scheme == "https" or parts.hostname in ("127.0.0.1", "localhost", "::1")
        assert link.expires_at is None or link.expires_at > datetime.now(UTC)

    @pytest.mark.asyncio
    async def test_the_same_key_gives_the_same_page(self, bench: LinkBench) -> None:
        """A message that is sent again after a crash leads where the first one led."""
        request = bench.link_request(possible=True)

        first, again = [await _link(bench, request) for _ in range(2)]

        assert (first.url, first.pays) == (again.url, again.pays)

    @pytest.mark.asyncio
    async def test_no_page_is_a_value_with_its_reason(self, bench: LinkBench) -> None:
        """The message goes out without a link, and the merchant reads why."""
        answer = CHECKS["update_link"](await bench.gateway.update_link(bench.link_request(possible=False)))

        assert isinstance(answer, NoLink)
        assert answer.reason

    @pytest.mark.asyncio
    async def test_not_being_able_to_ask_is_raised(self, bench: LinkBench) -> None:
        """`NoLink` is for good; a provider that is away is asked again."""
        request = bench.link_request(possible=True)
        bench.away()

        with pytest.raises(Exception):  # noqa: B017, PT011 # whatever a gateway raises means: try again later
            await bench.gateway.update_link(request)


async def _link(bench: LinkBench, request: UpdateLinkRequest) -> UpdateLink:
    answer = CHECKS["update_link"](await bench.gateway.update_link(request))
    assert isinstance(answer, UpdateLink), answer
    return answer


class EventListConformance(OptionalConformance):
    """Webhooks that never came are caught up with by this list."""

    @pytest.mark.asyncio
    @pytest.mark.parametrize("pages", [0, 1, 3])
    async def test_every_event_is_on_one_page_under_the_id_of_its_webhook(
        self, bench: EventListBench, pages: int
    ) -> None:
        """Nothing is left out where pages meet, and what came by webhook as well is known to be the same."""
        happened = bench.happen(pages * bench.per_page)

        listed = await walk(bench.gateway, happened.since)

        sent = (bench.gateway.parse_event(one.headers, one.body) for one in happened.webhooks)
        told = [event.external_id for events in sent for event in events]
        ids = [event.external_id for event in listed]
        assert set(told) <= set(ids)
        assert len(ids) == len(set(ids))

    @pytest.mark.asyncio
    async def test_what_was_before_is_left_out(self, bench: EventListBench) -> None:
        """Catching up again and again must not mean reading everything."""
        bench.happen(bench.per_page)
        later = bench.happen(1)

        listed = await walk(bench.gateway, later.since)

        sent = (bench.gateway.parse_event(one.headers, one.body) for one in later.webhooks)
        told = {event.external_id for events in sent for event in events}
        assert {event.external_id for event in listed} == told

    @pytest.mark.asyncio
    async def test_not_being_able_to_ask_is_no_empty_page(self, bench: EventListBench) -> None:
        """An empty page would be taken for "nothing happened"."""
        happened = bench.happen(1)
        bench.away()

        with pytest.raises(Exception):  # noqa: B017, PT011 # whatever a gateway raises means: ask again
            await bench.gateway.list_events(happened.since, None)


async def walk(gateway: EventGateway, since: datetime) -> Sequence[GatewayEvent]:
    """Return the events of all pages."""
    events: list[GatewayEvent] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = CHECKS["list_events"](await gateway.list_events(since, cursor))
        events += page.events
        cursor = page.cursor
        if cursor is None:
            return events
    raise AssertionError(f"the list has more than {MAX_PAGES} pages")


class WebhookAnswerConformance(OptionalConformance):
    """A provider that hears another answer than it wants sends the same webhook for days, or stops sending."""

    def test_the_provider_hears_what_it_wants(self, bench: WebhookAnswerBench) -> None:
        """Status, content type and body as its documentation says."""
        answer: WebhookAnswer = bench.gateway.capabilities.webhook_answer

        assert answer == bench.wanted
        assert 200 <= answer.status < 300


class SameObjectConformance(OptionalConformance):
    """A debt that has an object of its own at the provider is collected on it, and on nothing beside it."""

    AMOUNT: ClassVar = Money(1999, "EUR")

    @pytest.mark.asyncio
    async def test_a_debt_is_collected_on_its_own_object(self, bench: SameObjectBench) -> None:
        """A second object could be paid as well, by the provider's retries or by the customer."""
        request = bench.debt(self.AMOUNT, declines=0)

        outcome = await _charge(bench, request)

        assert request.debt_ref
        assert isinstance(outcome, Succeeded)
        assert (bench.payable(request), bench.moved(request)) == (1, self.AMOUNT)

    @pytest.mark.asyncio
    async def test_the_same_key_never_makes_a_second_try(self, bench: SameObjectBench) -> None:
        """Sent again it answers the same, the same try included, whatever became of it."""
        request = bench.debt(self.AMOUNT, declines=1)

        first, again = [await _charge(bench, request) for _ in range(2)]

        assert isinstance(first, Declined)
        assert first == again
        assert (bench.payable(request), bench.moved(request)) == (1, None)

    @pytest.mark.asyncio
    async def test_tries_on_one_object_are_told_apart(self, bench: SameObjectBench) -> None:
        """Each answer says which try it was: else an event about one is taken for the other."""
        first = bench.debt(self.AMOUNT, declines=1)
        second = bench.next_try(first)

        outcomes = [await _charge(bench, request) for request in (first, second)]

        declined, succeeded = outcomes
        assert isinstance(declined, Declined)
        assert isinstance(succeeded, Succeeded)
        assert declined.try_ref is None or declined.try_ref != succeeded.try_ref
        assert (bench.payable(second), bench.moved(second)) == (1, self.AMOUNT)

    @pytest.mark.asyncio
    async def test_a_debt_that_is_paid_is_not_collected_again(self, bench: SameObjectBench) -> None:
        """Whatever the provider says to another try, no more money moves."""
        first = bench.debt(self.AMOUNT, declines=0)
        await _charge(bench, first)

        await charge_guarded(bench.gateway, bench.next_try(first))

        assert (bench.payable(first), bench.moved(first)) == (1, self.AMOUNT)


async def _charge(bench: SameObjectBench, request: ChargeRequest) -> ChargeOutcome:
    """Charge; an unknown outcome fails the test with its reason."""
    outcome = await charge_guarded(bench.gateway, request)
    assert not isinstance(outcome, Unknown), outcome.reason
    return outcome
