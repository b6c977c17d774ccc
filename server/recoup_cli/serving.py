"""`api`, `worker`, `scheduler` and `migrate`: the processes of a production installation, one each."""

import asyncio
import signal

import click

from recoup_cli.compose import build_service, database_url, refuse_pending
from recoup_cli.refusals import FAILED
from recoup_core.settings import Settings, load_settings
from recoup_core.telemetry import configure_logging


def _ready() -> Settings:
    """Return valid settings of a process whose database is reachable and up to date."""
    settings = load_settings()
    configure_logging(settings.log.level, settings.log.format)
    asyncio.run(refuse_pending(settings))
    return settings


@click.command(epilog="Example: RECOUP_API_PORT=8460 recoup api")
def api() -> None:
    """Serve the HTTP API until SIGTERM or Ctrl-C.

    Listens on RECOUP_API_HOST and RECOUP_API_PORT (127.0.0.1:8460). Requests under way are finished before it ends.
    It never talks to the broker: what is to be done is written into the database.

    Needs RECOUP_DATABASE_URL; refuses to start while `recoup migrate` has something to do.
    """
    from recoup_server.app import run_api

    settings = _ready()
    service = build_service(settings)
    # uvicorn drains and then raises the signal again for whoever was there before; that is nobody, so the exit is a 0
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    run_api(service, settings)


@click.command(epilog="Example: RECOUP_WORKER_THREADS=32 recoup worker")
def worker() -> int:
    """Do due work: retries, look-ups of lost answers, gateways' events. Run as many as you like.

    Takes messages from RabbitMQ (RECOUP_AMQP_URL) until SIGTERM or Ctrl-C, then finishes what it is working on (up to
    40 seconds). Killed at any moment it loses nothing: another worker takes over when the lease ends.

    Needs RECOUP_DATABASE_URL; refuses to start while `recoup migrate` has something to do.
    """
    from recoup_workers.worker import run_worker

    return run_worker(build_service, _ready())


@click.command(epilog="Example: RECOUP_SCHEDULER_POLL_MS=200 recoup scheduler")
def scheduler() -> int:
    """Find due work in the database and hand it to the workers. One is enough, two survive the loss of one.

    Sends messages through RabbitMQ (RECOUP_AMQP_URL) until SIGTERM or Ctrl-C, seals the audit trail, and gives every
    row that lost its job a new one.

    Needs RECOUP_DATABASE_URL; refuses to start while `recoup migrate` has something to do.
    """
    from recoup_workers.scheduler import run_scheduler

    return run_scheduler(build_service, _ready())


@click.command("migrate", epilog="Example: recoup migrate --check || recoup migrate")
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 if a migration is missing.")
def migrate_command(check: bool) -> int:
    """Bring the database up to date, and say what was applied.

    Forward only, each migration in one transaction, safe to run from several machines at once and to run again.
    """
    from recoup_core.storage.migrate import migrate, pending

    url = database_url(load_settings())
    if check:
        missing = asyncio.run(pending(url))
        for each in missing:
            click.echo(f"missing  {each}")
        click.echo(f"{len(missing)} to apply" if missing else "the database is up to date")
        return FAILED if missing else 0
    applied = asyncio.run(migrate(url))
    for each in applied:
        click.echo(f"applied  {each}")
    click.echo(f"{len(applied)} applied" if applied else "the database was up to date already")
    return 0
