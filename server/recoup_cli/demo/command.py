"""`recoup demo`: starts the parts, plays the month, says what came of it, and stays up until Ctrl-C."""

import asyncio
import socket
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from recoup_cli.refusals import FAILED
from recoup_cli.single import DEMO, base_url, bound, listen, with_database
from recoup_core.settings import ApiSettings, SchedulerSettings, Settings

DEFAULT_PAYMENTS: Final = 600
MAX_PAYMENTS: Final = 20_000
LOG_FILE: Final = "recoup.log"


@click.command(
    epilog="Examples: recoup demo   |   recoup demo --payments 2000 --seed spring   |   recoup demo --fast-exit"
)
@click.option(
    "--payments",
    type=click.IntRange(1, MAX_PAYMENTS),
    default=DEFAULT_PAYMENTS,
    show_default=True,
    help="How many failed payments the month has, with orders and refunds to match; counts only at the first start.",
)
@click.option("--seed", default="recoup", show_default=True, help="The same seed gives the same month.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=ApiSettings().port,
    show_default=True,
    help="Port of the API; 0 takes a free one.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".recoup") / DEMO,
    show_default=True,
    help="Where the demo keeps its database and the bank's books.",
)
@click.option("--fast-exit", is_flag=True, help="Exit after the play instead of staying up.")
def demo(payments: int, seed: str, port: int, data_dir: Path, fast_exit: bool) -> int:
    """Play a month of sample failed payments and refunds at speed, then stay up to be looked at.

    Everything is real but the money and the time: an embedded PostgreSQL, the shipped policies, the network limits,
    scheduler, worker and API; the sandbox gateway's bank keeps books of its own, with which the result is compared.
    No settings are read, and nothing outside the data folder is touched.

    Ctrl-C stops it; the next start goes on with the same data and plays nothing again. Remove the data folder to
    start afresh.
    """
    from recoup_cli.demo.letters import BRAND, outbox
    from recoup_cli.demo.session import demo_sandbox, with_pages
    from recoup_core.telemetry import configure_logging
    from recoup_workers.broker import use_uvloop

    if not seed.isalnum() or len(seed) > 40:  # it becomes part of the sandbox's tokens
        raise click.BadParameter("letters and digits only, at most 40", param_hint="--seed")
    folder = data_dir.absolute()
    settings = Settings(
        environment="development",
        data_dir=folder,
        api=ApiSettings(port=port),
        scheduler=SchedulerSettings(in_flight_max=1000),
        gateways=(demo_sandbox(folder),),
        notifiers=(outbox(folder),),
        brands=(BRAND,),
    )
    console = Console()
    listener = listen(settings.api.host, 0 if fast_exit else port)
    use_uvloop()
    settings = with_pages(bound(settings, listener), base_url(listener))
    with listener, with_database(settings) as connected, (folder / LOG_FILE).open("a") as log:
        configure_logging("info", "json", log)
        return asyncio.run(_run(connected, listener, console, payments, seed, fast_exit))


async def _run(
    settings: Settings, listener: socket.socket, console: Console, payments: int, seed: str, fast_exit: bool
) -> int:
    from recoup_cli.demo.session import DemoSession
    from recoup_cli.single import stop_on_signals

    stop = stop_on_signals()
    session = await DemoSession.begin(settings, payments, seed)
    try:
        sound = await session.play(console, stop)
        if not stop.is_set() and not fast_exit:
            await session.stay(console, listener, stop)
    finally:
        await session.end()
    console.print("stopped; `recoup demo` goes on from here" if not fast_exit else "done")
    return 0 if sound else FAILED
