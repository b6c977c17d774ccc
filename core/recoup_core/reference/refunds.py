"""What gateways say about refunds, as typed rules: their windows by method, and what their refusals mean."""

from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Final, Literal

import msgspec

from recoup_core.domain.payment import Method
from recoup_core.domain.refund import FailureCategory
from recoup_core.reference.loading import ReferenceDataBroken, read_data, yaml_as

REFUNDS_FILE: Final = "refund_rules.yaml"


class RefundWindow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long after the charge a gateway takes refunds of one method."""

    window: timedelta | None
    """None: no limit is known; the gateway's own answer decides."""
    source: tuple[str, ...]
    notes: str = ""


class FailureMeaning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one of a gateway's codes means for a refund."""

    category: FailureCategory
    source: tuple[str, ...]
    notes: str = ""


class GatewayRefundRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of refunds at one kind of gateway."""

    source: tuple[str, ...]
    windows: dict[Method, RefundWindow]
    failures: dict[str, FailureMeaning]

    @property
    def limits(self) -> Mapping[Method, timedelta]:
        """The windows that are known, as `Capabilities.refund_windows` wants them."""
        return {method: one.window for method, one in self.windows.items() if one.window is not None}

    def category(self, code: str) -> FailureCategory | None:
        """Return what the code means; None for a code in no table."""
        known = self.failures.get(code)
        return known.category if known is not None else None


class _RefundRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: Literal[1]
    compiled_on: str
    gateways: dict[str, GatewayRefundRules]


def refund_rules(gateway: str) -> GatewayRefundRules:
    """Return the packaged rules of a kind of gateway (`stripe`); a kind without any raises `KeyError`."""
    return _packaged()[gateway]


def parse_refund_rules(name: str, text: str) -> Mapping[str, GatewayRefundRules]:
    """Read a refund rules file; a row without a source, or with a window of no length, is refused by name."""
    gateways = yaml_as(name, text, _RefundRules).gateways
    for kind, rules in gateways.items():
        sources = {key: one.source for key, one in rules.failures.items()}
        sources |= {method.value: one.source for method, one in rules.windows.items()}
        for key, source in sources.items():
            if not source:
                raise ReferenceDataBroken(name, f"{kind}, {key}", "has no source")
        for method, limit in rules.limits.items():
            if limit <= timedelta():
                raise ReferenceDataBroken(name, f"{kind}, {method}", "a window needs a length")
    return gateways


@cache
def _packaged() -> Mapping[str, GatewayRefundRules]:
    return parse_refund_rules(REFUNDS_FILE, read_data(REFUNDS_FILE))
