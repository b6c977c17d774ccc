"""What a decline means: from a gateway's or scheme's code, and all that came with it, to one category.

The issuer, the advice codes and the gateway's advice may sharpen a generic code and may make the answer stricter, never
looser. A code in no table gets category `unknown` and no unattended retry (promise 6).
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final

import msgspec

from recoup_core.domain.decline import Decline, DeclineCategory, DeclineSource, Retryable
from recoup_core.domain.payment import Network
from recoup_core.reference.loading import ReferenceDataBroken, csv_rows, read_data

MAX_CODE_LENGTH: Final = 64
"""Longer codes are cut: no provider has one, and `Decline.code` promises it."""

_FILES: Final[Mapping[DeclineSource, str]] = {
    DeclineSource.STRIPE: "stripe_decline_codes.csv",
    DeclineSource.ADYEN: "adyen_refusal_reasons.csv",
    DeclineSource.ISO8583: "iso8583_response_codes.csv",
    DeclineSource.ACH: "ach_return_codes.csv",
    DeclineSource.SEPA: "sepa_reason_codes.csv",
    DeclineSource.BACS: "bacs_arudd_codes.csv",
}
_ADVICE_FILE: Final = "mastercard_merchant_advice_codes.csv"

_NAME: Final = "refusal_reason"
"""The column in which a table names its codes as the provider does."""

_NOT_A_DECLINE: Final = "not_a_decline"
"""Approvals stand in the tables too; met in a decline they contradict it and count as unknown."""

_STRICTNESS: Final[Mapping[Retryable, int]] = {
    Retryable.YES: 0,
    Retryable.AFTER_CUSTOMER_ACTION: 1,
    Retryable.NO: 2,
}
_GENERIC: Final = frozenset({DeclineCategory.ISSUER_GENERIC, DeclineCategory.UNKNOWN})
_VISA_NEVER: Final = 1
_VISA_GENERIC: Final = 4


class CodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a table says of one code."""

    category: DeclineCategory
    retryable: Retryable
    visa_category: int | None = None
    network: Network | None = None
    """The network for which the code means this; None in tables that know no networks."""


_UNKNOWN: Final = CodeRow(category=DeclineCategory.UNKNOWN, retryable=Retryable.NO)

_GATEWAY_ADVICE: Final[Mapping[str, CodeRow]] = {
    "do_not_try_again": CodeRow(category=DeclineCategory.ISSUER_GENERIC, retryable=Retryable.NO),
    "confirm_card_data": CodeRow(
        category=DeclineCategory.EXPIRED_OR_INVALID_CREDENTIALS, retryable=Retryable.AFTER_CUSTOMER_ACTION
    ),
}
"""Stripe's `advice_code` (stripe/openapi); `try_again_later` allows nothing that the code itself forbids."""

_GATEWAY_BLOCKS: Final = frozenset(
    {(DeclineSource.ADYEN, "46"), (DeclineSource.STRIPE, "previously_declined_do_not_retry")}
)
"""Said as a code or as advice: the gateway didn't send it (docs.adyen.com refusal reasons, docs.stripe.com)."""


def classify(
    source: DeclineSource,
    code: str,
    *,
    network: Network | None = None,
    network_code: str | None = None,
    advice_code: str | None = None,
    gateway_advice: str | None = None,
    blocked_by_gateway: bool = False,
    message: str | None = None,
) -> Decline:
    """Return the decline with its category, by the order of precedence in README.md of this room.

    `code` is the provider's own, `network_code` the issuer's or scheme's, `advice_code` Mastercard's two digits and
    `gateway_advice` the gateway's word (Stripe `advice_code` or `outcome.reason`). Whatever a provider sends, it
    answers and never raises.
    """
    reading = _lookup(source, code, network)
    if network_code:
        reading = _sharpen(reading, _issuer_row(network_code, network))
    if advice_code and network in (None, Network.MASTERCARD):
        reading = _sharpen(reading, _advice_table().get(_two_digits(advice_code)))
    if gateway_advice:
        reading = _sharpen(reading, _GATEWAY_ADVICE.get(gateway_advice.strip().lower()))
    blocked = blocked_by_gateway or any((source, said) in _GATEWAY_BLOCKS for said in (code, gateway_advice))
    visa = _visa_category_of(source, code, network, network_code)
    stopped = blocked or visa == _VISA_NEVER
    return Decline(
        code=code[:MAX_CODE_LENGTH],
        source=source,
        category=reading.category,
        retryable=Retryable.NO if stopped else reading.retryable,
        network_code=network_code,
        advice_code=_two_digits(advice_code) if advice_code else None,
        visa_category=visa,
        blocked_by_gateway=blocked,
        message=message,
    )


def code_named(source: DeclineSource, name: str) -> str | None:
    """Return the code that a table calls so (Adyen's events tell `Expired Card`, its answers `6`); None for none."""
    return _names(source).get(name.strip().casefold())


def visa_category(network_code: str) -> int:
    """Return the Visa decline category 1 to 4 of an issuer's response code; 4 for every code that is in no list."""
    row = _table(DeclineSource.ISO8583).get((_folded(DeclineSource.ISO8583, network_code), Network.VISA))
    return (row.visa_category if row else None) or _VISA_GENERIC


def retryable_codes(source: DeclineSource, category: DeclineCategory) -> tuple[str, ...]:
    """Return the codes of a table that mean this and that time alone may help with."""
    rows = _table(source).items()
    codes = [code for (code, _), row in rows if row.category is category and row.retryable is Retryable.YES]
    return tuple(dict.fromkeys(codes))


def parse_codes(name: str, text: str) -> dict[tuple[str, Network | None], CodeRow]:
    """Return a code table by code and network; a value outside the domain's words, or a double, is refused."""
    table: dict[tuple[str, Network | None], CodeRow] = {}
    for where, row in csv_rows(name, text):
        try:
            parsed = _parse_row(row)
        except (KeyError, ValueError) as error:
            raise ReferenceDataBroken(name, where, f"not understood: {error}") from error
        for entry in parsed:
            key = (row["code"], entry.network)
            if not row["code"] or key in table:
                raise ReferenceDataBroken(name, where, f"the code {row['code']!r} is empty or stands twice")
            table[key] = entry
    return table


def _parse_row(row: Mapping[str, str]) -> list[CodeRow]:
    """Return one entry per network of the row; none for an approval."""
    retryable = Retryable(row["retryable"])
    if row["category"] == _NOT_A_DECLINE:
        return []
    category = DeclineCategory(row["category"])
    if category is DeclineCategory.UNKNOWN:
        raise ValueError("a code that stands in a table is not unknown")
    visa = int(row["visa_decline_category"]) if row.get("visa_decline_category") else None
    if visa is not None and not _VISA_NEVER <= visa <= _VISA_GENERIC:
        raise ValueError(f"{visa} is no Visa decline category")
    return [
        CodeRow(category=category, retryable=retryable, visa_category=visa, network=network)
        for network in _networks(row.get("networks"))
    ]


def _networks(text: str | None) -> Iterable[Network | None]:
    if text is None:
        return (None,)
    return tuple(Network) if text == "all" else tuple(Network(name) for name in text.split(" "))


@cache
def _table(source: DeclineSource) -> Mapping[tuple[str, Network | None], CodeRow]:
    return parse_codes(_FILES[source], read_data(_FILES[source]))


@cache
def _names(source: DeclineSource) -> Mapping[str, str]:
    """Return code by name, where the table has names."""
    rows = csv_rows(_FILES[source], read_data(_FILES[source]))
    return {row[_NAME].casefold(): row["code"] for _, row in rows if _NAME in row}


@cache
def _advice_table() -> Mapping[str, CodeRow]:
    return {code: row for (code, _), row in parse_codes(_ADVICE_FILE, read_data(_ADVICE_FILE)).items()}


def _lookup(source: DeclineSource, code: str, network: Network | None) -> CodeRow:
    """Return what the source's table says; ISO codes by network, or the strictest of all where it is unknown."""
    folded, table = _folded(source, code), _table(source)
    if source is not DeclineSource.ISO8583:
        return table.get((folded, None), _UNKNOWN)
    if network is not None:
        return table.get((folded, network), _UNKNOWN)
    rows = [table[folded, each] for each in Network if (folded, each) in table]
    return max(rows, key=lambda row: _STRICTNESS[row.retryable], default=_UNKNOWN)


def _issuer_row(network_code: str, network: Network | None) -> CodeRow:
    """Return what the issuer's code means; gateways put a bank debit's reason code into the same field."""
    for source in (DeclineSource.ISO8583, DeclineSource.ACH, DeclineSource.SEPA, DeclineSource.BACS):
        row = _lookup(source, network_code, network)
        if row is not _UNKNOWN:
            return row
    return _UNKNOWN


def _sharpen(reading: CodeRow, said: CodeRow | None) -> CodeRow:
    """Join two readings: the stricter `retryable`; a specific category over a generic one, else the stricter one's."""
    if said is None:
        return reading
    stricter = _STRICTNESS[said.retryable] > _STRICTNESS[reading.retryable]
    if said.category in _GENERIC:
        takes = reading.category is DeclineCategory.UNKNOWN
    else:
        takes = stricter or reading.category in _GENERIC
    return CodeRow(
        category=said.category if takes else reading.category,
        retryable=said.retryable if stricter else reading.retryable,
    )


def _visa_category_of(
    source: DeclineSource, code: str, network: Network | None, network_code: str | None
) -> int | None:
    if network is not Network.VISA:
        return None
    issuer_code = network_code or (code if source is DeclineSource.ISO8583 else "")
    return visa_category(issuer_code)


def _folded(source: DeclineSource, code: str) -> str:
    """Return the code as the tables write it: Stripe's words in lower case, all others in upper case."""
    return code.strip().lower() if source is DeclineSource.STRIPE else code.strip().upper()


def _two_digits(advice_code: str) -> str:
    """Return the advice code with its leading zero, which some gateways drop."""
    return advice_code.strip().zfill(2)
