"""A merchant under the shipped policies, customers who can be reached, campaigns on a clock that stands still."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from tests.core.flows.conftest import LEASE, Shop
from tests.stories.campaigns.diary import Entry, diary
from tests.stories.campaigns.mailbox import Crash, Mailbox

from recoup_core.domain.message import Message
from recoup_core.domain.payment import Method, Network
from recoup_core.flows.customers.telling import ReportedContact
from recoup_core.flows.operate import update_credential
from recoup_core.flows.recover import open_case
from recoup_core.flows.reports import ReportedCredential
from recoup_core.flows.subscription_requests.answering import acknowledge
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.settings import BrandEntry, GatewayEntry, NotifierEntry, Settings
from recoup_core.storage.changes import JobRef
from recoup_core.storage.engine import Database
from recoup_core.telemetry import Metrics
from recoup_core.wiring import Service, shipped_policies
from recoup_plugins.gateways.sandbox import SandboxGateway, SandboxOptions

MAX_TURNS: Final = 500
LOOKS: Final = timedelta(days=45)
"""A campaign of 30 days, and the look that nothing comes after it."""
BRAND: Final = BrandEntry(name="Acme Coffee", support_email="help@acme.example", postal_address="1 High Street, Leeds")


JITTER: Final = re.compile(r"(, jitter: \w+|^ *jitter: \w+\n)", re.MULTILINE)
READER: Final = ReportedContact(name="Ada Lovelace", addresses={"email": "ada@customers.example", "sms": "+4930123456"})


MESSAGES: Final = "SELECT row_to_json(m)::text FROM message m WHERE payment_id = $1 ORDER BY created_at, id"


class Campaign:
    """One merchant, one debt, and everybody who sees what is done about it."""

    def __init__(self, shop: Shop, mailbox: Mailbox, clock: Any) -> None:
        self.shop, self.mailbox, self.clock = shop, mailbox, clock
        self.twice = False
        """Whether every job is run twice at once, as after a lease that ended too early."""

    async def open(
        self, token: str, at: str, zone: str, customer: Mapping[str, Any] | None = None, **report: Any
    ) -> UUID:
        """Report a failed payment at a local time; its customer reads mail and SMS."""
        self.clock.set(datetime.fromisoformat(at).replace(tzinfo=ZoneInfo(zone)))
        facts = {"timezone": zone, **(customer or {})}
        told = self.shop.report(token, customer=facts, **report)
        subscription = {"plan": "pro", "interval": "month"}
        told = msgspec.structs.replace(told, subscription=subscription, contact=READER)
        return (await open_case(self.shop.context, told, "key:billing", None)).payment.id

    async def play(self, payment_id: UUID, until: timedelta = LOOKS) -> list[Entry]:
        """Let time pass until `until` is over, and return what the world saw."""
        end = self.clock.now() + until
        for _ in range(MAX_TURNS):
            await self._run_due()
            due = await self.shop.next_due()
            if due is None or due > end:
                return await diary(self.shop, payment_id, self.mailbox)
            self.clock.set(max(due, self.clock.now()))
        raise AssertionError("the campaign never ends")

    async def _run_due(self) -> None:
        for _ in range(MAX_TURNS):
            refs = await self.shop.claim()
            if not refs:
                return
            for _ in range(2 if self.twice else 1):
                await self._run(refs)
            await self._billing_answers()
        raise AssertionError("the jobs never end")

    async def _run(self, refs: list[JobRef]) -> None:
        """Run claimed jobs; where the worker dies, time goes on to the end of its leases."""
        try:
            await self.shop.service.run_jobs(refs)
        except Crash:
            self.clock.advance(LEASE + timedelta(seconds=1))

    async def give_new_card(self, payment_id: UUID, token: str) -> None:
        """The customer gives another card."""
        case = (await self.shop.file(payment_id)).case
        card = ReportedCredential(gateway="sandbox", token=token, method=Method.CARD, network=Network.VISA)
        await update_credential(self.shop.context, case.id, self.shop.by(), card)

    async def _billing_answers(self) -> None:
        """The billing system does what it is asked for, and says so."""
        for row in await self.shop.rows("SELECT id FROM subscription_request WHERE state = 'asked'"):
            await acknowledge(self.shop.context, row["id"], self.shop.by(), done=True)

    async def messages(self, payment_id: UUID) -> list[Message]:
        """The messages about a debt, in the order in which they were queued."""
        rows = await self.shop.rows(
            "SELECT row_to_json(m)::text FROM message m WHERE payment_id = $1 ORDER BY created_at, id", payment_id
        )
        return [msgspec.json.decode(row[0], type=Message) for row in rows]


Begin = Callable[[], Awaitable[Campaign]]


@pytest.fixture(scope="session")
def all_shipped(tmp_path_factory: pytest.TempPathFactory) -> PolicyBook:
    """Every shipped policy, compiled once; without jitter, so that its campaigns can be told to the minute."""
    folder = tmp_path_factory.mktemp("policies")
    for file in shipped_policies().glob("*/*.yaml"):
        (folder / file.name.replace(file.suffix, f"-{file.parent.name}{file.suffix}")).write_text(
            JITTER.sub("", file.read_text("utf-8"))
        )
    return PolicyBook.load(folder)


@pytest.fixture
async def begin(
    make_database: Any, drop_database: Any, postgres_server: Any, clock: Any, all_shipped: PolicyBook
) -> AsyncIterator[Begin]:
    """Starts merchants, each on a database of its own: what is done to one can't change the other."""
    async with AsyncExitStack() as opened:

        async def start() -> Campaign:
            url = make_database(postgres_server.template)
            opened.callback(drop_database, url)
            mailbox = Mailbox(clock.now)
            gateway = SandboxGateway("sandbox", SandboxOptions(clock=clock, webhook_secrets=("whsec_test",)))
            settings = Settings(
                gateways=(GatewayEntry(name="sandbox", plugin="sandbox"),),
                notifiers=(NotifierEntry(name="post", plugin="smtp"),),
                brands=(BRAND,),
            )
            service = Service(
                settings, Database(url), {"sandbox": gateway}, all_shipped, Metrics(), clock, {"post": mailbox}
            )
            opened.push_async_callback(service.close)
            await service.open()
            return Campaign(Shop(service, gateway, clock), mailbox, clock)

        yield start
