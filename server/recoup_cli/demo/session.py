"""One start of the demo: the parts, put together and taken apart."""

import asyncio
import socket
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from recoup_cli.compose import build_service, database_url
from recoup_cli.demo.desk import APPROVERS, Desk, Happening, webhook_secret
from recoup_cli.demo.letters import OUTBOX, Letters, billing_answers, read_letters, tell_letters
from recoup_cli.demo.orders import make_orders, order_count
from recoup_cli.demo.outcome import Outcome, judge, read_files
from recoup_cli.demo.play import Player, failure
from recoup_cli.demo.population import GATEWAY, MONTH, make_samples, references
from recoup_cli.demo.refund_outcome import RefundOutcome, judge_refunds, read_refunds
from recoup_cli.demo.state import APPROVER_FILE, KEY_FILE, DemoClock, DemoState, load_state, save_state
from recoup_cli.demo.telling import tell_checks, tell_outcome, tell_refunds, tell_where
from recoup_cli.refusals import Refused
from recoup_cli.single import DEMO, MERCHANT, OPERATOR, POSTGRES, base_url, first_key, sandbox, serve_api, write_private
from recoup_core.settings import GatewayEntry, Settings
from recoup_core.storage.audit import verify_audit
from recoup_core.storage.ledger_checks import verify_ledger
from recoup_core.storage.listing import list_payments
from recoup_core.storage.merchants import Role, mint_key
from recoup_core.storage.migrate import migrate
from recoup_core.telemetry import get_logger
from recoup_core.wiring import Service
from recoup_plugins.gateways.sandbox import SandboxGateway
from recoup_plugins.gateways.sandbox_bank import SandboxBank
from recoup_plugins.gateways.sandbox_pages import SandboxPages
from recoup_workers.inprocess import InProcess

log = get_logger(__name__)

_COLUMNS: Final = (
    TextColumn("{task.fields[day]}"),
    BarColumn(),
    TextColumn("{task.percentage:>3.0f} %"),
    TimeElapsedColumn(),
)


PAGES: Final = "/sandbox-pages"
"""Where the bank's own pages are, beside the API."""

POST_EVERY_S: Final = 1.0
"""How often the bank's webhooks are taken out and the billing system answers while the demo stays up."""

YOU: Final = "you"
"""Who looks at the demo afterwards, and may decide what still waits."""


def demo_sandbox(folder: Path) -> GatewayEntry:
    """Return the demo's gateway: the sandbox of its folder, whose webhooks are signed with a secret of this start."""
    entry = sandbox(folder)
    return msgspec.structs.replace(entry, options={**entry.options, "webhook_secrets": [webhook_secret()]})


def with_pages(settings: Settings, base: str) -> Settings:
    """Return the settings with the bank's own pages at this address: customers' pages lead there."""
    [entry] = settings.gateways
    entry = msgspec.structs.replace(entry, options={**entry.options, "pages": f"{base}{PAGES}"})
    return msgspec.structs.replace(settings, gateways=(entry,))


class DemoSession:
    """Holds what was started; `end` stops it in the opposite order."""

    def __init__(self, settings: Settings, state: DemoState, clock: DemoClock, service: Service) -> None:
        self._settings = settings
        self._state = state
        self._clock = clock
        self._service = service
        self._example: str | None = None
        self._refund: str | None = None
        self._letters = Letters()

    @classmethod
    async def begin(cls, settings: Settings, payments: int, seed: str) -> "DemoSession":
        """Bring the database up to date and open the service at the moment up to which was played."""
        folder = settings.data_dir
        kept = load_state(folder)
        now = datetime.now(UTC)
        state = kept or DemoState(payments=payments, seed=seed, start=now - MONTH, end=now, position=now - MONTH)
        await migrate(database_url(settings))
        clock = DemoClock(state.position)
        service = build_service(settings, clock=clock)
        await service.open()
        if kept is None:
            await _refuse_leftovers(service, folder)
            save_state(folder, state)
        return cls(settings, state, clock, service)

    async def play(self, console: Console, stop: asyncio.Event) -> bool:
        """Play what is left of the month and tell what came of it; False where books or audit trail don't hold."""
        if self._state.finished:
            count = self._state.payments
            console.print(f"Going on with the {count} payments of the first start; none is played again.")
        else:
            await self._play(console, stop)
        if stop.is_set():
            return True
        outcome, refunds = await self._judge()
        verified = await verify_audit(self._service.database, self._clock.now())
        ledger = await verify_ledger(self._service.database)
        tell_outcome(console, outcome)
        tell_refunds(console, refunds)
        self._letters = await read_letters(self._service.context)
        tell_letters(console, self._letters)
        tell_checks(console, outcome, refunds, verified, ledger)
        self._example, self._refund = outcome.example, refunds.example
        differences = [*outcome.differences, *refunds.differences]
        return not differences and verified.fault is None and ledger.fault is None

    async def stay(self, console: Console, listener: socket.socket, stop: asyncio.Event) -> None:
        """Be an ordinary installation, on the machine's time, until told to stop."""
        self._clock.let_go()
        work = InProcess(self._service)
        await work.start()
        try:
            keys = await self._key(), await self._approver_key()
            examples = self._example, self._refund
            where = partial(
                tell_where, console, base_url(listener), *keys, *examples, self._unusual(), self._look(listener)
            )
            post = asyncio.create_task(self._post())
            await serve_api(self._service, listener, stop, where, {PAGES: SandboxPages(self._bank())})
            post.cancel()
        finally:
            await work.stop()

    async def _post(self) -> None:
        """Take out the bank's webhooks and let billing answer, as outside the demo others do."""
        desk = Desk(self._bank(), self._webhook_secret())
        while True:
            await asyncio.sleep(POST_EVERY_S)
            try:
                await desk.deliver(self._service.context)
                await billing_answers(self._service.context)
            except Exception as failure:  # a demo goes on; what was not delivered is tried again
                log.warning("the demo's post was not delivered", error=repr(failure))

    def _webhook_secret(self) -> str:
        return str(self._settings.gateways[0].plain_options()["webhook_secrets"][0])

    async def end(self) -> None:
        """Close what `begin` opened."""
        await self._service.close()

    async def _play(self, console: Console, stop: asyncio.Event) -> None:
        state = self._state
        samples = make_samples(state.payments, state.seed, state.start)
        orders = make_orders(order_count(state.payments), state.seed, state.start)
        desk = Desk(self._bank(), self._webhook_secret())
        happenings = [*map(failure, samples), *desk.happenings(orders, state.start, state.end)]
        console.print(
            f"Playing {state.payments} failed payments and {len(orders)} orders with their refunds"
            f" of the last {MONTH.days} days ..."
        )
        work = InProcess(self._service)
        await work.start()
        try:
            with Progress(*_COLUMNS, console=console, transient=True) as progress:
                task = progress.add_task("", total=(state.end - state.start).total_seconds(), day="")

                def show(at: datetime) -> None:
                    progress.update(task, completed=(at - state.start).total_seconds(), day=f"{at:%d %b %H:%M}")

                player = Player(self._service, work, self._clock, sorted(happenings, key=_at), desk)
                self._state = await player.play(state, stop, lambda now: save_state(self._settings.data_dir, now), show)
        finally:
            await work.stop()
        await self._service.sweep(self._clock.now())  # seals what was written last

    async def _judge(self) -> tuple[Outcome, RefundOutcome]:
        bank = self._bank()
        files = await read_files(self._service, MERCHANT, references(self._state.payments))
        refunds, accounts, disputes = await read_refunds(self._service.database, MERCHANT)
        totals = bank.refund_totals().by_charge
        return judge(files, bank.totals()), judge_refunds(refunds, accounts, disputes, totals)

    def _bank(self) -> SandboxBank:
        gateway = self._service.context.gateways[GATEWAY]
        if not isinstance(gateway, SandboxGateway):
            raise Refused(f"the gateway {GATEWAY} is no sandbox")
        return gateway.bank

    async def _approver_key(self) -> Path:
        """Return the file of a key by which who looks at the demo may decide what still waits, in every role."""
        kept = self._settings.data_dir / APPROVER_FILE
        if not kept.exists():
            roles, now = [Role.AGENT], self._clock.now()
            approves = [role for _, role in APPROVERS]
            minted = await mint_key(
                self._service.database, MERCHANT, YOU, roles, now, actor=OPERATOR, approves=approves
            )
            write_private(kept, minted.secret)
        here = Path.cwd()
        return kept.relative_to(here) if kept.is_relative_to(here) else kept

    def _look(self, listener: socket.socket) -> dict[str, str]:
        """Return what of the messages can be looked at."""
        found: dict[str, str] = {}
        if self._letters.example is not None:
            found["a mail"] = str(self._settings.data_dir / OUTBOX / f"{self._letters.example.id}.eml")
        if self._letters.page is not None:
            path = self._letters.page.removeprefix(self._service.context.messaging.links.base)
            found["a customer's page"] = f"{base_url(listener)}{path}"
        return found

    def _unusual(self) -> Path | None:
        """Return the folder of the data, where commands that are given in this folder would not look for it."""
        folder = self._settings.data_dir
        return None if folder == (Settings().data_dir / DEMO).absolute() else folder

    async def _key(self) -> str:
        """Return the demo's admin key; it guards sample data only, so it is kept in a file beside them."""
        kept = self._settings.data_dir / KEY_FILE
        minted = await first_key(self._service)
        if minted is not None:
            write_private(kept, minted.secret)
        return kept.read_text() if kept.exists() else "<make one with `recoup keys create`>"


def _at(happening: Happening) -> datetime:
    return happening.at


async def _refuse_leftovers(service: Service, folder: Path) -> None:
    """Refuse a database that outlived its data folder: root's may lie elsewhere (see `embedded_postgres`)."""
    if not await list_payments(service.database, MERCHANT, {}, None, 1):
        return
    await service.close()
    elsewhere = folder / POSTGRES / "data-is-in"
    place = elsewhere.read_text().strip() if elsewhere.exists() else str(folder / POSTGRES)
    raise Refused("the database holds an earlier demo, but its state is gone", f"remove {place} to start afresh")
