"""Which case is meant by what somebody typed: an id of the case or its payment, or the merchant's reference."""

from typing import Any
from uuid import UUID

from recoup_core.storage.engine import Database
from recoup_core.storage.listing import list_cases, list_payments


async def find_case(database: Database, merchant: str, wanted: str) -> UUID | None:
    """Return the case that is meant: by reference first, for a reference may look like anything."""
    lookups: list[tuple[Any, dict[str, Any]]] = [(list_payments, {"reference": wanted})]
    try:
        wanted_id = UUID(wanted)
    except ValueError:
        pass
    else:
        lookups += [(list_cases, {"id": wanted_id}), (list_payments, {"id": wanted_id})]
    for find, filters in lookups:
        found = await find(database, merchant, filters, None, 1)
        if found and found[0].case is not None:  # a payment that never failed has none
            case_id: UUID = found[0].case.id
            return case_id
    return None
