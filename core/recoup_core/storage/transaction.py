"""The hardened transaction and the errors of a database that is out of reach.

What Piccolo's own transaction gets wrong and this one holds (each is a test): a failed COMMIT or a killed backend
gives the pool place back; a broken transaction never turns later ones into no-ops; a nested transaction is a
savepoint; a COMMIT that the server turned into a ROLLBACK is an error.
"""

import asyncio
import contextlib
import logging
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Final

import asyncpg
from piccolo.engine.postgres import PostgresTransaction

if TYPE_CHECKING:
    from recoup_core.storage.engine import RecoupEngine

ROLLBACK_TIMEOUT_S: Final = 5.0
BEGIN_TRIES: Final = 3
"""A pooled connection may have died unnoticed; before BEGIN nothing was done, so another one is taken."""

log = logging.getLogger(__name__)


class DatabaseUnavailable(Exception):
    """The database can't be reached or the connection was lost; nothing was committed, so the work may be retried."""

    code: ClassVar[str] = "database_unavailable"

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"the database at {address} is unavailable: {reason}")
        self.address, self.reason = address, reason


class CommitUnknown(DatabaseUnavailable):
    """The connection was lost while COMMIT was under way: it may or may not have happened; read before you redo."""

    code = "commit_unknown"


class TransactionRolledBack(Exception):
    """The server answered COMMIT with ROLLBACK, because an earlier failed statement's error was swallowed."""

    def __init__(self) -> None:
        super().__init__("a statement failed in this transaction and its error was swallowed; nothing was committed")


class TransactionMisused(Exception):
    """A house rule about transactions was broken; the message says which."""


_LOST: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.DatabaseDroppedError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
UNREACHABLE: Final = (*_LOST, OSError, TimeoutError, asyncpg.TooManyConnectionsError, asyncpg.InterfaceError)
REFUSED: Final = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ClientConfigurationError,
)


def unavailable(address: str, error: BaseException) -> DatabaseUnavailable:
    """Turn a connection failure into ours; a configuration error's text could repeat the URL and stays out."""
    told = "" if isinstance(error, asyncpg.ClientConfigurationError) else f": {error}".rstrip(": ")
    return DatabaseUnavailable(address, f"{type(error).__name__}{told}")


def _alive(connection: Any) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:  # the pool took back the proxy of a connection that died
        return False


def is_loss(error: BaseException, connection: Any) -> bool:
    """Return whether the error means that the connection is gone, rather than a fault of what was asked."""
    if isinstance(error, _LOST):
        return True
    broken = isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError)
    return broken and not _alive(connection)


class HonestConnection(asyncpg.Connection):  # type: ignore[misc] # asyncpg carries no types
    """PostgreSQL answers COMMIT of a failed transaction with ROLLBACK and no error; asyncpg drops that answer."""

    __slots__ = ()

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109 # asyncpg's own
        status: str = await super().execute(query, *args, timeout=timeout)
        if status == "ROLLBACK" and query == "COMMIT;":
            raise TransactionRolledBack
        return status

    def get_reset_query(self) -> str:
        """Ask for nothing when the pool takes a connection back; asyncpg's own RESET ALL is a round trip each time.

        House rule: settings are `SET LOCAL`, advisory locks belong to transactions, nobody listens on a pool
        connection; so what a transaction ends with is all there is to reset. An open one is rolled back all the same.
        """
        return ""


class SafeTransaction(PostgresTransaction):
    """Piccolo's transaction with its defects mended; inside another one it is a savepoint."""

    __slots__ = ("_open", "_savepoint", "_task")

    engine: "RecoupEngine"

    def __init__(self, engine: "RecoupEngine", allow_nested: bool = True) -> None:
        super().__init__(engine, allow_nested=allow_nested)
        self._task = asyncio.current_task()
        self._open = False
        self._savepoint: Any = None
        if isinstance(self._parent, SafeTransaction):
            self._parent = self._parent.joinable_by(self._task)

    def joinable_by(self, task: "asyncio.Task[Any] | None") -> "SafeTransaction | None":
        """Return itself, or None when it is over; a task that merely inherited it is refused."""
        if not self._open:
            return None  # inherited by a task that outlived it
        if self._task is not task:
            raise TransactionMisused("a task started inside a transaction can't use it; pass the work out instead")
        return self

    async def __aenter__(self) -> PostgresTransaction:
        if self._parent is not None:
            self._savepoint = await self._parent.savepoint()
            return self._parent
        await self._begin()
        self._open = True
        self.context = self.engine.current_transaction.set(self)
        return self

    async def _begin(self) -> None:
        for attempt in range(1, BEGIN_TRIES + 1):
            self.connection = await self.engine.acquire()
            self.transaction = self.connection.transaction()
            try:
                await self.transaction.start()
                return
            except BaseException as error:
                lost, timed_out = is_loss(error, self.connection), isinstance(error, TimeoutError)
                await self.engine.give_back(self.connection, broken=True)
                if timed_out or (lost and attempt == BEGIN_TRIES):
                    raise unavailable(self.engine.address, error) from error
                if not lost:
                    raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._savepoint is not None:
            await self._leave_savepoint(self._savepoint, error)
            return False
        try:
            await self._finish(error)
        finally:
            self._open = False
            with contextlib.suppress(ValueError):  # a generator closed from elsewhere: its variable died with it
                self.engine.current_transaction.reset(self.context)
            await self.engine.give_back(self.connection, broken=False)
        return False

    async def _leave_savepoint(self, savepoint: Any, error: BaseException | None) -> None:
        connection = savepoint.transaction.connection
        try:
            if error is not None:
                await savepoint.rollback_to()
            await savepoint.release()
        except BaseException as failure:
            # Were it left half done, the outer block could commit what the inner one meant to undo.
            if error is not None or not isinstance(failure, asyncpg.PostgresError):
                terminate(connection)
            if error is None or not isinstance(failure, Exception):
                raise

    async def _finish(self, error: BaseException | None) -> None:
        if error is None and _alive(self.connection):
            await self._commit()
        elif error is None:
            raise DatabaseUnavailable(self.engine.address, "the connection was lost inside a transaction")
        elif is_loss(error, self.connection):
            terminate(self.connection)
            raise unavailable(self.engine.address, error) from error
        elif _alive(self.connection):
            await self._roll_back(error)

    async def _commit(self) -> None:
        try:
            await self.transaction.commit()
        except TransactionRolledBack:
            raise
        except BaseException as error:
            if isinstance(error, TimeoutError) or is_loss(error, self.connection):
                terminate(self.connection)
                raise CommitUnknown(self.engine.address, "the connection was lost during COMMIT") from error
            if not isinstance(error, asyncpg.PostgresError):  # without the server's verdict its state is unknown
                terminate(self.connection)
            raise

    async def _roll_back(self, error: BaseException) -> None:
        try:
            async with asyncio.timeout(ROLLBACK_TIMEOUT_S):
                await self.transaction.rollback()
        except Exception as failure:
            terminate(self.connection)  # the server rolls back when it sees the connection end
            log.warning("a rollback failed and its connection was closed: %s", type(failure).__name__)
            if isinstance(error, TimeoutError):  # neither the statement nor the rollback was answered
                raise unavailable(self.engine.address, error) from error
        except BaseException:
            terminate(self.connection)
            raise


def terminate(connection: Any) -> None:
    """End a connection at once, without a word to the server."""
    with contextlib.suppress(asyncpg.InterfaceError):  # already taken back by the pool
        connection.terminate()
