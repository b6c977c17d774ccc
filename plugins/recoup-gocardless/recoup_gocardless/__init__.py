"""GoCardless for Recoup: bank debits by SEPA, Bacs and ACH. See the README beside `pyproject.toml`."""

from typing import Final

from recoup_gocardless.making import make_gocardless
from recoup_plugins import RegisterGateway, hookimpl

RECOUP_CONTRACT: Final = (1, 1)
"""The contract of `recoup_plugins` that this plugin is written for."""


@hookimpl
def register_gateways(register: RegisterGateway) -> None:
    """Register the kind `gocardless`."""
    register("gocardless", make_gocardless)
