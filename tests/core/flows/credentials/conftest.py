"""What a shop's bank tells of its customers' means of payment, and what became of them."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec
import pytest

from recoup_core.domain.payment import Credential
from recoup_core.flows.recover import Opened, open_case
from recoup_core.ports import CredentialChange


class Teller:
    """A shop whose customers have accounts at the bank."""

    def __init__(self, shop: Any, post: Any) -> None:
        self.shop = shop
        self._post = post

    async def open(self, *tokens: str, known_as: str | None = "cus_anna", **report: Any) -> Opened:
        """Report a failed payment of a customer whom the bank calls `known_as`."""
        told = self.shop.report(*tokens, **report)
        credentials = tuple(msgspec.structs.replace(each, gateway_customer=known_as) for each in told.credentials)
        told = msgspec.structs.replace(told, credentials=credentials)
        opened = await open_case(self.shop.context, told, "key:shop", "corr-1")
        await self.shop.run_due()
        return opened

    async def tell(
        self,
        change: str,
        token: str | None = None,
        *,
        at: datetime | None = None,
        now: Mapping[str, Any] | None = None,
        **news: Any,
    ) -> None:
        """Hear what became of a means of payment, and do all that is due of it."""
        described = None if now is None else {"method": "card", "network": "visa", **now}
        credential = {"change": CredentialChange(change), "token": token, "now": described, **news}
        await self._post.send(f"credential.{change}", at=at, credential=credential)

    async def stored(self, token: str) -> list[Credential]:
        """Every row of a token, the oldest first."""
        rows = await self.shop.rows(
            "SELECT row_to_json(k)::text FROM credential k WHERE token = $1 ORDER BY created_at, id", token
        )
        return [msgspec.json.decode(row[0], type=Credential) for row in rows]

    async def usable(self, customer_ref: str) -> set[str]:
        """The tokens of a customer that may be tried."""
        rows = await self.shop.rows("SELECT token FROM credential WHERE customer_ref = $1 AND valid", customer_ref)
        return {row["token"] for row in rows}

    async def tasks(self) -> list[str]:
        """The kinds of tasks that wait."""
        rows = await self.shop.rows("SELECT kind FROM human_task WHERE resolved_at IS NULL ORDER BY id")
        return [row["kind"] for row in rows]

    async def told(self, kind: str) -> list[dict[str, Any]]:
        """What events of a kind carry, in order."""
        rows = await self.shop.rows("SELECT data FROM event WHERE kind = $1 ORDER BY id", kind)
        return [msgspec.json.decode(row["data"]) for row in rows]

    def moved(self) -> int:
        """Money the bank moved in all."""
        return sum(total.moved_minor for total in self.shop.gateway.bank.totals().values())


@pytest.fixture
def teller(shop: Any, post: Any) -> Teller:
    """The shop's bank, telling of credentials."""
    return Teller(shop, post)


@pytest.fixture
def telling() -> Callable[[Any], Teller]:
    """Makes a teller of a shop that sends no webhooks."""
    return lambda shop: Teller(shop, None)
