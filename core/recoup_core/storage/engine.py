"""The way to PostgreSQL: one pool, and one hardened transaction that raw asyncpg and Piccolo share.

Nothing connects before `Database.open`; every wait has a limit; a database out of reach is `DatabaseUnavailable`.
House rules: no `gather` and no new tasks inside a transaction, no Piccolo `batch()` (it swallows errors).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

from piccolo.engine.postgres import PostgresEngine
from piccolo.table import Table

from recoup_core.storage.transaction import (
    REFUSED,
    UNREACHABLE,
    CommitUnknown,
    DatabaseUnavailable,
    HonestConnection,
    SafeTransaction,
    TransactionMisused,
    TransactionRolledBack,
    is_loss,
    terminate,
    unavailable,
)

__all__ = [
    "CommitUnknown",
    "Database",
    "DatabaseUnavailable",
    "RecoupEngine",
    "TransactionMisused",
    "TransactionRolledBack",
    "bind",
]

OPEN_WAIT_S: Final = 30.0
"""How long `Database.open` keeps trying to reach a server that doesn't answer yet."""
OPEN_PAUSE_S: Final = 0.25
CONNECT_TIMEOUT_S: Final = 10.0
ACQUIRE_TIMEOUT_S: Final = 10.0
"""How long a caller waits for a free place in the pool, connecting included."""
STATEMENT_TIMEOUT_S: Final = 30.0
"""The server ends a statement after this; `SET LOCAL statement_timeout` gives one transaction another limit."""
COMMAND_GRACE_S: Final = 5.0
"""The client waits this much longer than the server's limit, so when it gives up the server is out of reach."""
IDLE_IN_TRANSACTION_TIMEOUT_S: Final = 60.0
"""An open transaction in which nothing happens holds locks and old rows; the server ends it."""
CLOSE_TIMEOUT_S: Final = 10.0

log = logging.getLogger(__name__)


class RecoupEngine(PostgresEngine):
    """Piccolo's engine on our pool: connects nowhere else and not at construction, waits within limits."""

    def __init__(self, config: dict[str, Any], address: str, acquire_timeout_s: float) -> None:
        self.address = address
        self._acquire_timeout_s = acquire_timeout_s
        super().__init__(config=config)

    async def check_version(self) -> None:
        """Ask nothing: the stock engine connects here, while it is being constructed."""

    async def prep_database(self) -> None:
        """Create no extension; migrations say what the database needs."""

    async def get_new_connection(self) -> NoReturn:
        """Refuse: `batch()`, `run_sync()` and queries before `open` would connect outside the pool and its limits."""
        raise TransactionMisused("open the Database first, and use neither batch() nor run_sync()")

    async def acquire(self) -> Any:
        """Return a connection of the pool; raise `DatabaseUnavailable` when none can be had in time."""
        if self.pool is None:
            raise DatabaseUnavailable(self.address, "it is not open")
        try:
            return await self.pool.acquire(timeout=self._acquire_timeout_s)
        except (*UNREACHABLE, *REFUSED) as error:
            raise unavailable(self.address, error) from error

    async def give_back(self, connection: Any, *, broken: bool) -> None:
        """Return a connection to the pool, or end it; the pool replaces it when needed. Never raises for its state."""
        if broken:
            terminate(connection)
        if self.pool is None:
            return
        try:
            await self.pool.release(connection)
        except Exception as error:  # the work itself is already decided; asyncpg has ended the connection
            log.warning("a connection could not be reset and was closed: %s", type(error).__name__)

    async def _run_in_pool(self, query: str, args: Sequence[Any] | None = None) -> Any:
        async with self.borrow() as connection:
            return await connection.fetch(query, *(args or ()))

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[Any]:
        """Lend a connection of the pool; the loss of it raises `DatabaseUnavailable`."""
        connection = await self.acquire()
        try:
            yield connection
        except Exception as error:
            if is_loss(error, connection):
                raise unavailable(self.address, error) from error
            raise
        finally:
            await self.give_back(connection, broken=False)

    def transaction(self, allow_nested: bool = True) -> SafeTransaction:
        """Return a transaction; inside another one of the same task it is a savepoint."""
        return SafeTransaction(self, allow_nested=allow_nested)


class Database:
    """One PostgreSQL database as the project uses it. Construction does no I/O; `open` and use share one event loop."""

    def __init__(
        self,
        url: str,
        *,
        pool_min: int = 1,
        pool_max: int = 10,
        application_name: str = "recoup",
        statement_timeout_s: float = STATEMENT_TIMEOUT_S,
        acquire_timeout_s: float = ACQUIRE_TIMEOUT_S,
    ) -> None:
        self.address = _address(url)
        self._pool_min, self._pool_max = pool_min, pool_max
        self.engine: RecoupEngine = RecoupEngine(
            _connect_arguments(url, application_name, statement_timeout_s), self.address, acquire_timeout_s
        )

    def __repr__(self) -> str:
        return f"Database({self.address})"

    async def open(self, wait_s: float = OPEN_WAIT_S) -> None:
        """Start the pool on the running loop.

        A server that doesn't answer is tried again for `wait_s` seconds; one that answers no (password, no such
        database) is believed at once. Both end in `DatabaseUnavailable`, whose text never holds the password.
        """
        deadline = asyncio.get_running_loop().time() + wait_s
        while True:
            try:
                await self.engine.start_connection_pool(
                    min_size=self._pool_min, max_size=self._pool_max, connection_class=HonestConnection
                )
                return
            except REFUSED as error:
                raise unavailable(self.address, error) from error
            except UNREACHABLE as error:
                if asyncio.get_running_loop().time() + OPEN_PAUSE_S > deadline:
                    raise unavailable(self.address, error) from error
            await asyncio.sleep(OPEN_PAUSE_S)

    async def close(self) -> None:
        """Wait up to `CLOSE_TIMEOUT_S` for work under way, then end what is left; closing twice does nothing."""
        pool, self.engine.pool = self.engine.pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await pool.close()
        except TimeoutError:
            log.warning("connections were still in use after %s s and were closed", CLOSE_TIMEOUT_S)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """Commit what the block does, or nothing of it; yields the raw asyncpg connection, Piccolo queries join.

        Inside another transaction of the same task it is a savepoint. A lost connection raises
        `DatabaseUnavailable`, and its subclass `CommitUnknown` where COMMIT had already been sent.
        """
        async with self.engine.transaction() as transaction:
            yield transaction.connection

    def connection(self) -> AbstractAsyncContextManager[Any]:
        """Lend a pool connection in autocommit mode; refused inside a transaction.

        N transactions that each wait for a second connection would empty the pool and wait for one another.
        """
        current = self.engine.current_transaction.get()
        if isinstance(current, SafeTransaction) and current.joinable_by(asyncio.current_task()) is not None:
            raise TransactionMisused("inside a transaction, use the connection that it yields")
        return self.engine.borrow()


def bind(tables: Iterable[type[Table]], engine: PostgresEngine) -> None:
    """Tell Piccolo tables which engine to use, in place of the global one it looks for; the last call counts."""
    for table in tables:
        table._meta.db = engine


def _address(url: str) -> str:
    """Return host, port and database without the credentials."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise ValueError("a database URL starts with postgresql://")  # the text is not repeated: it may hold a password
    if "@" in url and "@" not in parts.netloc:
        raise ValueError("percent-encode the special characters in the database URL's password")
    return parts.netloc.rpartition("@")[2] + parts.path


def _connect_arguments(url: str, application_name: str, statement_timeout_s: float) -> dict[str, Any]:
    """jsonb keeps asyncpg's default: text in, text out; msgspec decodes it once, where its type is known."""
    return {
        "dsn": url,
        "timeout": CONNECT_TIMEOUT_S,
        "command_timeout": statement_timeout_s + COMMAND_GRACE_S,
        "server_settings": {
            "application_name": application_name,
            "timezone": "UTC",
            # storage without moving heads; with PostgreSQL's 4 a batch's keys are looked up by reading whole tables
            "random_page_cost": "1.1",
            "statement_timeout": str(int(statement_timeout_s * 1000)),
            "idle_in_transaction_session_timeout": str(int(IDLE_IN_TRANSACTION_TIMEOUT_S * 1000)),
        },
    }
