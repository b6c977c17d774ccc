"""What a plugin may implement. Hooks only register; the registered objects do the work."""

import pluggy

from recoup_plugins.settings import RegisterGateway, RegisterNotifier

hookspec = pluggy.HookspecMarker("recoup")


@hookspec
def register_gateways(register: RegisterGateway) -> None:
    """Call `register(kind, factory)` once per kind of gateway, at start and without I/O.

    `kind` is what operators write as `plugin:` in their settings (`stripe`); a taken one is refused and disables the
    plugin. `factory(settings)` returns a fresh `Gateway` for each configured instance, does no I/O, and raises
    `PluginMisconfigured` when its options can't be used. Both are ended when they take too long (`limits`).
    """


@hookspec
def register_notifiers(register: RegisterNotifier) -> None:
    """Call `register(kind, factory)` once per kind of notifier, at start and without I/O.

    As for gateways; a kind of notifier and one of gateways may have the same name.
    """
