"""`recoup webhook`: where a merchant's events are sent, what became of them, and sending them again."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Final, TypeVar
from uuid import UUID

import click

from recoup_cli.admin import with_open_database
from recoup_cli.refund_desk import acting, json_option, key_option, print_json, with_flows
from recoup_cli.refusals import Refused
from recoup_cli.single import MERCHANT, running
from recoup_core.domain.webhook import DeliveryState, WebhookDelivery, WebhookEndpoint, WebhookTry
from recoup_core.flows.context import Context
from recoup_core.flows.operate import By
from recoup_core.flows.webhooks_out.endpoints import (
    ENDPOINTS_MAX,
    ROLL_HOURS,
    ROLL_HOURS_MAX,
    EndpointEdit,
    create_endpoint,
    delete_endpoint,
    disable_endpoint,
    enable_endpoint,
    roll_secret,
)
from recoup_core.flows.webhooks_out.messages import secret_of
from recoup_core.flows.webhooks_out.replaying import Span, replay, try_endpoint
from recoup_core.rules.deciding.words import moment
from recoup_core.settings import Settings, load_settings
from recoup_core.storage.engine import Database
from recoup_core.storage.keys import installation_key
from recoup_core.storage.listing import DEFAULT_PAGE, MAX_PAGE
from recoup_core.storage.merchants import Role
from recoup_core.storage.webhook_deliveries import list_deliveries, list_tries
from recoup_core.storage.webhooks import find_endpoint, list_endpoints
from recoup_core.web.calling import Answer
from recoup_core.wiring import caller_of

STEPS_MAX: Final = 10_000
"""Steps of one replay; each looks at 5,000 events."""

T = TypeVar("T")

merchant_option = click.option("--merchant", default=MERCHANT, show_default=True, help="Whose endpoints.")
ID: Final = "0198d5f0-0000-7000-8000-000000000201"


@click.group()
def webhook() -> None:
    """Have events sent to other systems, and look after how that goes."""


@webhook.command(
    epilog="Example: recoup webhook create https://billing.example.com/hooks --kind 'case.*' --kind refund.succeeded"
)
@click.argument("url")
@click.option("--kind", "kinds", multiple=True, help="A kind of event or a group like `refund.*`; none: all.")
@click.option("--ordered", is_flag=True, help="One at a time, in order: one that fails holds the others up.")
@click.option("--description", default="", help="For people.")
@key_option
def create(url: str, kinds: tuple[str, ...], ordered: bool, description: str, key: str) -> None:
    """Have events sent to a URL from now on; prints the secret that its receiver verifies them with."""
    edit = EndpointEdit(url=url, kinds=kinds, ordered=ordered, description=description)

    async def work(context: Context) -> tuple[WebhookEndpoint, str]:
        made = await create_endpoint(context, await acting(context, key, Role.ADMIN), edit)
        return made, secret_of(made, context.messaging.keys)

    endpoint, secret = _with_keys(work)
    click.echo(_line(endpoint))
    click.echo(secret)


@webhook.command("list", epilog="Example: recoup webhook list --merchant default")
@merchant_option
@json_option
def list_command(merchant: str, as_json: bool) -> None:
    """List endpoints, newest first: id, state, address, kinds, and since when nothing reaches them."""

    async def look(database: Database, _: Settings) -> list[WebhookEndpoint]:
        return await list_endpoints(database, merchant, ENDPOINTS_MAX)

    found = with_open_database(look)
    if as_json:
        print_json(found)
        return
    for endpoint in found:
        click.echo(_line(endpoint))
    if not found:
        click.echo("there is no webhook endpoint", err=True)


@webhook.command(epilog=f"Example: recoup webhook show {ID} --state failed")
@click.argument("endpoint", type=click.UUID)
@click.option("--state", type=click.Choice([str(state) for state in DeliveryState]), help="Only those in this state.")
@click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=DEFAULT_PAGE, show_default=True)
@merchant_option
@json_option
def show(endpoint: UUID, state: str | None, limit: int, merchant: str, as_json: bool) -> None:
    """Show an endpoint and what was sent there, newest first: event, state, tries, and why it did not arrive."""

    async def look(database: Database, _: Settings) -> tuple[WebhookEndpoint, list[WebhookDelivery]]:
        found = await _find(database, merchant, endpoint)
        filters = {"endpoint": endpoint, "state": state}
        return found, await list_deliveries(database, merchant, filters, None, limit)

    shown, deliveries = with_open_database(look)
    if as_json:
        print_json({"endpoint": shown, "deliveries": deliveries})
        return
    click.echo(_line(shown))
    for each in deliveries:
        because = f"  {each.because}" if each.because else ""
        told = f"{each.id}  {moment(each.event_at)}  {each.event_kind} ({each.event_id})"
        click.echo(f"  {told}  {each.state}  {each.tries} tries{because}")


@webhook.command(epilog=f"Example: recoup webhook log {ID} 0198d5f0-0000-7000-8000-000000000202")
@click.argument("endpoint", type=click.UUID)
@click.argument("delivery", type=click.UUID)
@merchant_option
@json_option
def log(endpoint: UUID, delivery: UUID, merchant: str, as_json: bool) -> None:
    """Show each try of one delivery, newest first: when, how long it took, and what came back."""

    async def look(database: Database, _: Settings) -> list[WebhookTry]:
        filters = {"endpoint": endpoint, "id": delivery}
        if not await list_deliveries(database, merchant, filters, None, 1):
            raise Refused(f"the endpoint {endpoint} has no delivery {delivery}", "`recoup webhook show` lists them")
        return await list_tries(database, delivery)

    tries = with_open_database(look)
    if as_json:
        print_json(tries)
        return
    for each in tries:
        click.echo(f"{moment(each.at)}  {each.ms} ms  {each.status or each.error}  {each.response or ''}".rstrip())


@webhook.command(epilog=f"Example: recoup webhook test {ID}")
@click.argument("endpoint", type=click.UUID)
@key_option
def test(endpoint: UUID, key: str) -> None:
    """Send a message of the kind `webhook.test` now, also where the endpoint is off, and print what comes back."""

    async def work(context: Context) -> Answer:
        return await try_endpoint(context, endpoint, await acting(context, key, Role.OPERATOR))

    answer = _with_keys(work)
    if not answer.arrived:
        raise Refused(f"it did not arrive ({answer.ms} ms): {answer.error or f'the endpoint answered {answer.status}'}")
    click.echo(f"it arrived: {answer.status} after {answer.ms} ms")


@webhook.command(epilog=f"Example: recoup webhook secret {ID}")
@click.argument("endpoint", type=click.UUID)
@key_option
def secret(endpoint: UUID, key: str) -> None:
    """Print the secret that an endpoint's receiver verifies with; it is derived, and stored nowhere."""

    async def work(context: Context) -> str:
        by = await acting(context, key, Role.ADMIN)
        found = await _find(context.database, by.merchant_id, endpoint)
        return secret_of(found, context.messaging.keys)

    click.echo(_with_keys(work))


@webhook.command(epilog=f"Example: recoup webhook roll {ID} --hours 48")
@click.argument("endpoint", type=click.UUID)
@click.option("--hours", type=click.IntRange(0, ROLL_HOURS_MAX), default=ROLL_HOURS, show_default=True)
@key_option
def roll(endpoint: UUID, hours: int, key: str) -> None:
    """Give an endpoint another secret and print it; the one before signs beside it for so many hours."""

    async def work(context: Context) -> str:
        rolled = await roll_secret(context, endpoint, await acting(context, key, Role.ADMIN), hours)
        return secret_of(rolled, context.messaging.keys)

    click.echo(_with_keys(work))


@webhook.command(epilog=f'Example: recoup webhook disable {ID} --because "the billing system moves"')
@click.argument("endpoint", type=click.UUID)
@click.option("--because", required=True, help="Why.")
@key_option
def disable(endpoint: UUID, because: str, key: str) -> None:
    """Send nothing there until it is enabled: what waits is dropped, and can be replayed then."""

    async def act(context: Context, by: By) -> WebhookEndpoint:
        return await disable_endpoint(context, endpoint, by, because)

    _switch(act, key)


@webhook.command(epilog=f"Example: recoup webhook enable {ID}")
@click.argument("endpoint", type=click.UUID)
@key_option
def enable(endpoint: UUID, key: str) -> None:
    """Send there again what happens from now on; `recoup webhook replay` sends what it missed."""

    async def act(context: Context, by: By) -> WebhookEndpoint:
        return await enable_endpoint(context, endpoint, by)

    _switch(act, key)


@webhook.command(epilog=f"Example: recoup webhook delete {ID}")
@click.argument("endpoint", type=click.UUID)
@key_option
def delete(endpoint: UUID, key: str) -> None:
    """Send nothing more there, drop what waits, and forget the endpoint; its log stays for as long as logs do."""

    async def work(context: Context) -> WebhookEndpoint:
        return await delete_endpoint(context, endpoint, await acting(context, key, Role.ADMIN))

    click.echo(_line(with_flows(work)))


@webhook.command("replay", epilog=f"Example: recoup webhook replay {ID} --since 2026-11-22T18:00:00+00:00")
@click.argument("endpoint", type=click.UUID)
@click.option("--since", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]), required=True, help="With its offset from UTC.")
@click.option("--delivered", is_flag=True, help="Also what the endpoint said it has.")
@key_option
def replay_command(endpoint: UUID, since: datetime, delivered: bool, key: str) -> None:
    """Send what failed, was dropped or was never sent since a moment, at most 30 days ago, under the ids it had."""

    async def work(context: Context) -> int:
        by, total, after = await acting(context, key, Role.OPERATOR), 0, None
        for _ in range(STEPS_MAX):
            done = await replay(context, endpoint, by, Span(since=since, delivered=delivered, after=after))
            total, after = total + done.replayed, done.after
            if after is None:
                break
        return total

    click.echo(f"{with_flows(work)} deliveries go out")


def _switch(act: Callable[[Context, By], Awaitable[WebhookEndpoint]], key: str) -> None:
    async def work(context: Context) -> WebhookEndpoint:
        return await act(context, await acting(context, key, Role.OPERATOR))

    click.echo(_line(with_flows(work)))


def _with_keys(work: Callable[[Context], Awaitable[T]]) -> T:
    """Run work that signs, or reads a URL: with the installation's key, and the reach that its settings give."""
    settings = running(load_settings())

    async def signing(context: Context) -> T:
        configured = settings.secrets.key
        key = configured.reveal().encode() if configured else await installation_key(context.database)
        context.messaging.keys.load(key)
        return await work(replace(context, webhooks=caller_of(settings)))

    return with_flows(signing)


async def _find(database: Database, merchant: str, endpoint_id: UUID) -> WebhookEndpoint:
    found = await find_endpoint(database, merchant, endpoint_id)
    if found is None:
        raise Refused(f"the merchant {merchant} has no webhook endpoint {endpoint_id}", "`recoup webhook list`")
    return found


def _line(endpoint: WebhookEndpoint) -> str:
    kinds = ", ".join(endpoint.kinds) or "all kinds"
    order = "  in order" if endpoint.ordered else ""
    failing = f"  failing since {moment(endpoint.failing_since)}" if endpoint.failing_since else ""
    because = f"  {endpoint.disabled_because}" if endpoint.disabled_because else ""
    return f"{endpoint.id}  {endpoint.state}  {endpoint.url}  {kinds}{order}{failing}{because}"
