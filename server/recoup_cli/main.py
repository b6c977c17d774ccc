"""The entry point: commands, and the promise that an expected failure is one clear line, never a traceback.

Exit codes: 0 done, 1 it failed or something is wrong with what was checked, 2 the command or the settings are wrong.
"""

import sys
from collections.abc import Sequence

import click

from recoup_cli import (
    approvals,
    attempt,
    audit,
    case,
    charge,
    customer,
    dispute,
    gateway,
    inbound,
    keys,
    ledger,
    message,
    notifier,
    payment,
    plugin,
    policy,
    refund,
    serving,
    settlement,
    staff,
    subscription,
    template,
    up,
    webhook,
)
from recoup_cli.compose import release
from recoup_cli.demo.command import demo
from recoup_cli.refusals import told

INTERRUPTED = 130
"""What shells expect of a program that Ctrl-C ended before it could end by itself."""


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Settings come from the environment (RECOUP_...) and recoup.toml; see docs/configuration.md.",
)
@click.version_option(release(), prog_name="recoup")
def cli() -> None:
    """Recover failed payments by policies written in YAML.

    \b
    First steps:
      recoup demo                       a month of sample payments, played in under a minute
      recoup up                         everything in one process, nothing to install beside it
      recoup policy check policies      check policy files
    \b
    In production, each with the same settings:
      recoup migrate                    bring the database up to date
      recoup api                        serve the HTTP API
      recoup scheduler                  hand out due work through RabbitMQ
      recoup worker                     do it; start as many as you like
    """


for command in (
    up.up,
    demo,
    serving.api,
    serving.worker,
    serving.scheduler,
    serving.migrate_command,
    policy.policy,
    case.case,
    attempt.attempt,
    payment.payment,
    refund.refund,
    approvals.approvals,
    approvals.delegation,
    dispute.dispute,
    subscription.subscription,
    charge.charge,
    customer.customer,
    message.message,
    gateway.gateway,
    notifier.notifier,
    inbound.inbound,
    audit.audit,
    ledger.ledger,
    settlement.settlement,
    staff.staff,
    webhook.webhook,
    keys.keys,
    plugin.plugin,
    template.template,
):
    cli.add_command(command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; what is not expected (a bug) is let out with its traceback."""
    try:
        result = cli.main(arguments, prog_name="recoup", standalone_mode=False)
    except click.ClickException as misuse:
        misuse.show()
        return misuse.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as failure:
        expected = told(failure)
        if expected is None:
            raise
        code, lines = expected
        click.echo("\n".join([f"recoup: {lines[0]}", *lines[1:]]), err=True)
        return code
    return result if isinstance(result, int) else 0


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run())


if __name__ == "__main__":
    main()
