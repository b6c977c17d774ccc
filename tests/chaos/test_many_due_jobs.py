"""Two schedulers and four workers on ten thousand jobs that fall due together."""

from collections.abc import Callable

import pytest
from tests.chaos.conftest import Chaos

pytestmark = [pytest.mark.chaos, pytest.mark.rabbitmq]

JOBS = 10_000
WITHIN_S = 60.0


async def test_ten_thousand_due_jobs_are_done_once_each(
    chaos: Chaos, record_property: Callable[[str, object], None]
) -> None:
    """Any number of schedulers and workers share the work without a word to each other."""
    await chaos.seed("tok_approve")
    await chaos.multiply(JOBS - 1)

    chaos.house.start(*["worker"] * 4)
    for _ in range(2):
        chaos.house.launch("scheduler")
    took_s = await chaos.until_ended(WITHIN_S)

    record_property("jobs_per_second", round(JOBS / took_s))
    await chaos.all_is_well()
    assert await chaos.house.value("SELECT max(sends) FROM attempt") == 1
    assert all(total.sends == 1 for total in chaos.house.bank.totals().values())
