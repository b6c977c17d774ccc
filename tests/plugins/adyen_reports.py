"""Settlement details reports as Adyen writes them: the columns of its documentation, one batch, in major units."""

from collections.abc import Mapping
from typing import Any

from tests.plugins.fake_adyen_answers import MERCHANT

HEADER = """
Company Account,Merchant Account,Psp Reference,Merchant Reference,Payment Method,Creation Date,TimeZone,Type,
Modification Reference,Gross Currency,Gross Debit (GC),Gross Credit (GC),Exchange Rate,Net Currency,Net Debit (NC),
Net Credit (NC),Commission (NC),Markup (NC),Scheme Fees (NC),Interchange (NC),Payment Method Variant,
Modification Merchant Reference,Batch Number,Merchant Order Reference
"""
COLUMNS = HEADER.replace("\n", "").split(",")


def a_row(kind: str, **changes: Any) -> dict[str, str]:
    """Make a row; say only what matters, by words that stand for the columns."""
    values = {
        "Company Account": "Acme",
        "Merchant Account": MERCHANT,
        "Creation Date": "2026-11-20 10:00:00",
        "TimeZone": "CET",
        "Type": kind,
        "Gross Currency": "EUR",
        "Net Currency": "EUR",
        "Exchange Rate": "1",
        "Batch Number": "4",
    }
    named = {
        "psp": "Psp Reference",
        "reference": "Merchant Reference",
        "method": "Payment Method",
        "operation": "Modification Reference",
        "part": "Modification Merchant Reference",
        "order": "Merchant Order Reference",
        "gross_credit": "Gross Credit (GC)",
        "gross_debit": "Gross Debit (GC)",
        "net_credit": "Net Credit (NC)",
        "net_debit": "Net Debit (NC)",
        "gross": "Gross Currency",
        "net": "Net Currency",
        "interchange": "Interchange (NC)",
        "scheme": "Scheme Fees (NC)",
        "markup": "Markup (NC)",
        "commission": "Commission (NC)",
        "at": "Creation Date",
        "zone": "TimeZone",
        "batch": "Batch Number",
        "merchant": "Merchant Account",
    }
    return values | {named[name]: str(value) for name, value in changes.items()}


def a_report(*rows: Mapping[str, str], columns: list[str] = COLUMNS) -> bytes:
    """Write rows as CSV; nothing in them needs quoting."""
    lines = [",".join(columns), *(",".join(row.get(column, "") for column in columns) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def whole_batch() -> list[dict[str, str]]:
    """A charge, a refund, a chargeback with its fee, what came back, fees, what is carried over, and the payout."""
    return [
        a_row("Settled", psp="A" * 16, operation="B" * 16, method="mc", gross_credit="19.99", net_credit="19.40",
              interchange="0.31", scheme="0.18", markup="0.10", reference="inv-1"),
        a_row("Refunded", psp="A" * 16, operation="C" * 16, method="mc", gross_debit="5.00", net_debit="5.10"),
        a_row("Chargeback", psp="D" * 16, operation="E" * 16, method="visa", gross_debit="10.00", net_debit="25.00"),
        a_row("ChargebackReversed", psp="D" * 16, operation="E" * 16, method="visa", gross_credit="10.00",
              net_credit="10.00"),
        a_row("RefundedReversed", psp="A" * 16, operation="C" * 16, method="mc", gross_credit="5", net_credit="5.00"),
        a_row("Chargeback", psp="F" * 16, operation="G" * 16, method="sepadirectdebit", gross_debit="3.00",
              net_debit="3.00"),
        a_row("Fee", operation="Transaction Fees November", gross="", net_debit="0.25"),
        a_row("Fee", operation="Transaction Fees November", gross="", net_debit="0.25"),
        a_row("Balancetransfer", operation="from batch 3", gross="", net_credit="2.00"),
        a_row("MerchantPayout", operation="TX210457171XT", gross="", net_debit="2.80", at="2026-11-22 10:00:00"),
    ]  # fmt: skip
