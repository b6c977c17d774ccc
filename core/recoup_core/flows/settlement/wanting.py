"""A report is wanted: a gateway's event announced it, or a person asks for it. A job fetches it."""

from datetime import datetime
from typing import Final
from uuid import UUID, uuid5

from recoup_core.domain.settlement import WantedReport
from recoup_core.storage.changes import Changes, NewJob

FETCH: Final = "fetch_settlement"
"""Job kind: fetch a report from its gateway. Subject: the wanted report."""

_NAMES: Final = UUID("5a1d4cfe-6b0e-4d0c-9f1d-7f1f6f2a9b11")
"""Ours alone: ids of wanted reports are made of gateway and report under it."""


def want_report(
    changes: Changes, gateway: str, report_ref: str, now: datetime, correlation_id: str | None
) -> WantedReport:
    """Have a report fetched soon; wanted again, it is fetched again, and what it says is taken in once all the same."""
    wanted = WantedReport(
        id=uuid5(_NAMES, f"{gateway}/{report_ref}"), gateway=gateway, report_ref=report_ref, wanted_at=now
    )
    changes.add(wanted, NewJob(kind=FETCH, subject_id=wanted.id, due_at=now, correlation_id=correlation_id))
    return wanted
