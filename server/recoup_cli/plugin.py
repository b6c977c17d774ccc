"""`recoup plugin`: write the skeleton of a plugin, look at installed ones."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import msgspec

from recoup_cli.compose import notifier_settings, release
from recoup_cli.plugin_text import Installed, finding_rows, installed_rows, print_table
from recoup_cli.refusals import FAILED, MISUSED, Refused
from recoup_core.settings import load_settings
from recoup_core.telemetry import configure_logging
from recoup_plugins.contract import CONTRACT
from recoup_plugins.manager import BUILT_IN, PluginManager, installed, load_plugins
from recoup_plugins.scaffold import CantWrite, write_skeleton
from recoup_plugins.settings import GatewaySettings, NotifierSettings

format_option = click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How it is told."
)


@click.group()
def plugin() -> None:
    """Write plugins, and look at those that are installed: payment providers, and ways to reach people."""


@plugin.command(epilog="Examples: recoup plugin new acme   |   recoup plugin new acme --notifier")
@click.argument("name")
@click.option(
    "--into", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="In which folder (default: here)."
)
@click.option("--refunds/--no-refunds", default=True, show_default=True, help="Whether it gives money back, too.")
@click.option("--notifier", is_flag=True, help="One that sends messages instead of moving money.")
def new(name: str, into: Path, refunds: bool, notifier: bool) -> None:
    """Write a distribution recoup-NAME that works at once: a gateway, a made-up provider for it, and its tests.

    Or, with --notifier, the same for messages.

    docs/plugins.md goes on from there.
    """
    plugins = load_plugins()
    kinds = (*plugins.kinds, *plugins.notifier_kinds)
    taken = {*kinds, *(one.name for one in plugins.plugins), *(one.plugin for one in plugins.problems)}
    try:
        target = write_skeleton(name, into, refunds=refunds, notifier=notifier, taken=taken)
    except CantWrite as refusal:
        raise Refused(str(refusal), code=MISUSED) from None
    click.echo(f"wrote {target}")
    click.echo(f"  next: cd {target} && python -m pip install -e '.[test]' && pytest", err=True)


@plugin.command("list", epilog="Example: recoup plugin list --format json")
@format_option
def list_command(form: str) -> None:
    """List the plugins that are there, with kinds, version and contract, and those that are disabled, with the reason.

    Ends with 1 if one is disabled.
    """
    rows = _installed(load_plugins())
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
    else:
        print_table(("plugin", "kinds", "version", "contract", "problem"), installed_rows(rows))
    if any(row.disabled for row in rows):
        raise click.exceptions.Exit(FAILED)


@plugin.command(
    epilog="Examples: recoup plugin check acme   |   recoup plugin check --config recoup.toml --format json"
)
@click.argument("name", required=False)
@click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Settings whose gateways and notifiers are looked at as configured, with their health (default: recoup.toml).",
)
@format_option
def check(name: str | None, config: Path | None, form: str) -> None:
    """Look at an installed plugin, or at all, as Recoup would use it; no money moves, nothing is sent.

    Import, hooks and contract version; gateways and notifiers are built without I/O and keep the contract; webhooks of
    strangers are refused, in time; nothing shows a secret; what is configured answers. Ends with 1 if anything failed.
    """
    from recoup_plugins.checking import Verdict, check_plugin

    entries = [entry for entry in installed() if name in (None, entry.name)]
    if name is not None and not entries:
        known = ", ".join(sorted(entry.name for entry in installed())) or "none"
        hint = "it is built in" if name in BUILT_IN else f"installed are: {known}"
        raise Refused(f"no plugin {name} is installed", hint, code=MISUSED)
    configure_logging("error", "console")  # what a plugin does wrong here is a finding
    gateways, notifiers = _configured({} if config is None else {"RECOUP_CONFIG": str(config.resolve())})
    findings = [finding for entry in entries for finding in check_plugin(entry, gateways, notifiers)]
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(findings)).decode())
    elif not entries:
        click.echo("no plugins are installed beside the built-in ones", err=True)
    else:
        print_table(("plugin", "check", "verdict", ""), finding_rows(findings))
    if any(finding.verdict is Verdict.FAILED for finding in findings):
        raise click.exceptions.Exit(FAILED)


def _configured(named: Mapping[str, str]) -> tuple[Sequence[GatewaySettings], Sequence[NotifierSettings]]:
    settings = load_settings({**os.environ, **named})
    gateways = [
        GatewaySettings(
            name=entry.name,
            plugin=entry.plugin,
            merchant=entry.merchant,
            retries_by=entry.retries_by,
            options=entry.plain_options(),
        )
        for entry in settings.gateways
    ]
    return gateways, [notifier_settings(entry) for entry in settings.notifiers]


def _installed(plugins: PluginManager) -> list[Installed]:
    """Return what is there and what is disabled, built-in plugins first."""
    versions = {
        entry.name: f"{entry.dist.name} {entry.dist.version}" for entry in installed() if entry.dist is not None
    }
    ours = f"recoup {release()}"
    there = [
        Installed(
            plugin=one.name,
            kinds=tuple(one.factories),
            notifiers=tuple(one.notifiers),
            version=ours if one.built_in else versions.get(one.name, ""),
            contract=str(CONTRACT if one.built_in else one.fit.written_for),
            problem=one.fit.warning or "",
            disabled=False,
        )
        for one in plugins.plugins
    ]
    disabled = [
        Installed(plugin=one.plugin, version=versions.get(one.plugin, ""), problem=one.broke, disabled=True)
        for one in plugins.problems
    ]
    return [*there, *disabled]
