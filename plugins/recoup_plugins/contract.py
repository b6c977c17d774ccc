"""The version of what `recoup_plugins` promises to plugins, and which plugins still fit.

A plugin says what it was written for by a module attribute, `RECOUP_CONTRACT = (1, 1)`. What a minor and a major
may change, and how long the old goes on working, stands in docs/plugins.md and core/adr/0014-plugin-contract.md.
"""

from typing import ClassVar, Final, NamedTuple

import msgspec

from recoup_core.domain.errors import DomainError


class ContractVersion(NamedTuple):
    """A minor only adds; a major may take away."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


CONTRACT: Final = ContractVersion(1, 2)
"""What this release promises. 1.0: charges, refunds, webhooks. 1.1: owners, tries, credentials, update links, lists of
events, settlement reports. 1.2: notifiers."""

OLDEST: Final = ContractVersion(1, 0)
"""What a plugin may be written for at the least; one that declares nothing is taken to be written for it."""

DECLARATION: Final = "RECOUP_CONTRACT"
"""The module attribute by which a plugin says what it was written for."""


class PluginUnfit(DomainError):
    """A plugin was written for a contract that this release doesn't keep, or says so in a way that can't be read."""

    code: ClassVar[str] = "plugin_unfit"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin that fits: what it was written for, and what its author should do about it."""

    written_for: ContractVersion
    declared: bool
    warning: str | None = None


def fit_of(plugin: object, contract: ContractVersion = CONTRACT, oldest: ContractVersion = OLDEST) -> Fit:
    """Return how a plugin fits the contract; raises `PluginUnfit` with the reason where it doesn't."""
    declared = getattr(plugin, DECLARATION, None)
    if declared is None:
        told = f"it does not say what it was written for ({DECLARATION} = {tuple(contract)}); {oldest} is assumed"
        return Fit(written_for=oldest, declared=False, warning=told)
    written_for = _version(declared)
    if written_for > contract:
        raise PluginUnfit(f"it was written for contract {written_for}, this Recoup keeps {contract}: upgrade Recoup")
    if written_for < oldest:
        raise PluginUnfit(
            f"it was written for contract {written_for}, this Recoup keeps {oldest} to {contract}: upgrade the plugin"
        )
    deprecated = written_for.major < contract.major
    told = f"contract {written_for} is deprecated: the next major release keeps {contract.major}.0 and later only"
    return Fit(written_for=written_for, declared=True, warning=told if deprecated else None)


def _version(declared: object) -> ContractVersion:
    try:
        major, minor = msgspec.convert(declared, type=tuple[int, int])
    except msgspec.ValidationError:
        raise PluginUnfit(f"its {DECLARATION} is not two whole numbers like {tuple(CONTRACT)}") from None
    return ContractVersion(major, minor)
