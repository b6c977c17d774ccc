"""Fetching Adyen's reports: by their file name, from the one place where the account's reports lie.

The address in a REPORT_AVAILABLE event is not signed, and is never asked: whoever could write there would be given the
report user's password.
"""

from typing import Final
from urllib.parse import quote

import requests

from recoup_plugins import MAX_SETTLEMENT_BYTES, SettlementUnreadable
from recoup_plugins.gateways.adyen_client import fetched
from recoup_plugins.gateways.adyen_errors import AdyenAnswerLost
from recoup_plugins.gateways.adyen_news import SETTLEMENT_REPORT

TEST_REPORTS: Final = "https://ca-test.adyen.com/reports/download/MerchantAccount"
LIVE_REPORTS: Final = "https://ca-live.adyen.com/reports/download/MerchantAccount"
"""docs.adyen.com/reporting/settlement-detail-report."""

REPORT_TIMEOUT_S: Final = 25.0
"""For a whole report; below the limit of any call of a gateway."""


def fetch(base: str, merchant: str, report: str, user: str, password: str) -> bytes:
    """Return a report's bytes; blocks. Raises `SettlementUnreadable` for a name that is none, or one nobody knows."""
    if SETTLEMENT_REPORT.fullmatch(report) is None:
        raise SettlementUnreadable("it is not named as settlement details reports are (settlement_detail_report...csv)")
    status, _, body = fetched(
        "GET",
        f"{base.rstrip('/')}/{quote(merchant, safe='')}/{report}",
        timeout_s=REPORT_TIMEOUT_S,
        max_bytes=MAX_SETTLEMENT_BYTES,
        auth=requests.auth.HTTPBasicAuth(user, password),
    )
    if status == 404:
        raise SettlementUnreadable("Adyen knows no report of that name")
    if status != 200:
        raise AdyenAnswerLost(f"the report was answered with {status}")
    return body
