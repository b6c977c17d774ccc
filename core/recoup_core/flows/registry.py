"""Which policies are in force for whom, in this process: compiled books, each for one number of the database's.

Whoever decides reads that number in the deciding transaction and asks for the book of that very number. Where it has
moved, nothing is decided: `PoliciesMoved` ends the transaction, the new texts are compiled outside of it and off the
event loop, and the work starts anew (`in_force`). So what is activated counts for every decision that starts later, in
every process, and each decision is made with one set of policies and never with parts of two.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Final, TypeVar

import asyncpg
import structlog

from recoup_core.domain.errors import DomainError
from recoup_core.flows.workbench import Workbench
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.engine.texts import CompiledTexts, Pinned, UnreadablePolicy
from recoup_core.rules.language.errors import PolicyInvalid
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.rules.sets.trials import Trial
from recoup_core.storage.engine import Database
from recoup_core.storage.lookups import PolicyText, policy_texts
from recoup_core.storage.versions import LiveSet, LiveTrial, VersionText, hold_policies, live_set

MAX_BOOKS: Final = 1_000
"""Merchants whose books are kept; most share one. The one unused for longest makes room."""

MOVED_TRIES: Final = 3
"""Times a decision may be overtaken by a change of policies; then it keeps changes out until it is done."""

THREADS: Final = 2
"""Compilations under way or waiting in threads; the pool of threads is everybody's."""

MAX_UNREADABLE: Final = 1_000
"""Refused texts that are remembered; past it each is tried again."""

T = TypeVar("T")

log = structlog.get_logger(__name__)


class PoliciesMoved(Exception):
    """What is in force has changed since the books of this process were made; never leaves `in_force`."""

    def __init__(self, merchant_id: str, epoch: int) -> None:
        super().__init__(f"the policies of {merchant_id} are at {epoch}")
        self.merchant_id, self.epoch = merchant_id, epoch


class PoliciesUnusable(DomainError):
    """What is in force for a merchant can't be decided with: a newer release may refuse a text that an older took."""

    code = "policies_unusable"

    def __init__(self, merchant_id: str, cause: PolicyInvalid) -> None:
        super().__init__(f"the policies in force for {merchant_id} can't be used: {cause}")
        self.merchant_id = merchant_id


class _Shared:
    """A book and how many merchants have it."""

    def __init__(self, book: PolicyBook) -> None:
        self.book = book
        self.users = 0


class PolicyRegistry:
    """The books of one process; lives on one event loop."""

    def __init__(self, database: Database, texts: CompiledTexts) -> None:
        """Nothing is read or compiled before it is asked for; `texts` may hold compiled policies already."""
        self.texts = texts
        self._database = database
        self._books: OrderedDict[str, tuple[int, frozenset[str]]] = OrderedDict()
        self._shared: dict[frozenset[str], _Shared] = {}
        self._unreadable: dict[str, UnreadablePolicy] = {}
        self._refreshing = asyncio.Lock()
        self._threads = asyncio.Semaphore(THREADS)
        self.workbench = Workbench()

    async def in_force(self, merchant_id: str, act: Callable[[bool], Awaitable[T]]) -> T:
        """Run `act`, a whole transaction, until the policies stand still under it.

        `act(hold)` asks `current(connection, merchant_id, epoch, hold=hold)` for its book. Raises `PoliciesUnusable`.
        """
        for _ in range(MOVED_TRIES):
            try:
                return await act(False)
            except PoliciesMoved as moved:
                await self.refresh(merchant_id, moved.epoch)
        return await act(True)

    async def current(
        self, connection: asyncpg.Connection, merchant_id: str, epoch: int, *, hold: bool = False
    ) -> PolicyBook:
        """Return the merchant's book of this number, which the caller has read in its transaction.

        Raises `PoliciesMoved` where this process has none; with `hold`, keeps changes out and makes it on the spot.
        """
        if not hold:
            return self._book(merchant_id, epoch)
        await hold_policies(connection)
        return await self._load(merchant_id, await live_set(connection, merchant_id))

    async def refresh(self, merchant_id: str, at_least: int = 0) -> PolicyBook:
        """Return the merchant's book as of now; one made for `at_least` or later is good enough, if that is given.

        Not inside a transaction. Raises `PoliciesUnusable`.
        """
        async with self._refreshing:  # a hundred decisions overtaken at once need one look
            known = self._books.get(merchant_id)
            if known is not None and 0 < at_least <= known[0]:
                return self._shared[known[1]].book
            async with self._database.connection() as connection:
                live = await live_set(connection, merchant_id)
            return await self._load(merchant_id, live)

    def at_hand(self, digest: str) -> Pinned | None:
        """Return what a case is pinned to, if that has been compiled, or refused, before."""
        return self.texts.get(digest) or self._unreadable.get(digest)

    async def pinned(self, digests: Collection[str]) -> dict[str, Pinned]:
        """Return what these digests lead to, from their stored texts. Not inside a transaction: it takes its time."""
        async with self._database.connection() as connection:
            stored = await policy_texts(connection, digests)
        return {text.digest: await self.in_thread(self._compile_pinned, text) for text in stored}

    async def in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        """Run what a decision or a change waits for away from the event loop, a few at a time.

        Whatever takes seconds to answer an author is the workbench's: decisions must not queue behind it.
        """
        async with self._threads:
            return await asyncio.to_thread(work, *arguments)

    def _book(self, merchant_id: str, epoch: int) -> PolicyBook:
        known = self._books.get(merchant_id)
        if known is None or known[0] != epoch:
            raise PoliciesMoved(merchant_id, epoch)
        self._books.move_to_end(merchant_id)
        return self._shared[known[1]].book

    async def _load(self, merchant_id: str, live: LiveSet) -> PolicyBook:
        """Make the book of what is live and keep it, unless a later one is kept by now."""
        placed = effective(live.versions)
        trials = effective_trials(live.trials, placed)
        key = frozenset(version.digest for version in placed)
        key |= {f"{trial.experiment.id}:{trial.experiment.ramp}" for trial in trials}
        if key not in self._shared:
            compiled = await self.in_thread(self._take, merchant_id, placed)
            under_test = await self.in_thread(self._take_trials, trials)
            if key in self._shared:  # made by others meanwhile
                self.texts.release([*compiled, *(trial.treatment for trial in under_test)])
            else:
                self._shared[key] = _Shared(self._bound(merchant_id, compiled, under_test))
        shared = self._shared[key]
        self._keep(merchant_id, live.epoch, key, shared)
        return shared.book

    def _bound(self, merchant_id: str, compiled: tuple[CompiledPolicy, ...], trials: Sequence[Trial]) -> PolicyBook:
        try:
            return PolicyBook(compiled, texts=self.texts, trials=trials)
        except PolicyInvalid as refusal:
            self.texts.release([*compiled, *(trial.treatment for trial in trials)])
            raise PoliciesUnusable(merchant_id, refusal) from refusal

    def _keep(self, merchant_id: str, epoch: int, key: frozenset[str], shared: _Shared) -> None:
        known = self._books.get(merchant_id)
        if known is None or known[0] <= epoch:
            shared.users += 1
            self._books[merchant_id] = (epoch, key)
            self._books.move_to_end(merchant_id)
            if known is not None:
                self._leave(known[1])
            if len(self._books) > MAX_BOOKS:
                self._leave(self._books.popitem(last=False)[1][1])
        elif shared.users == 0:  # overtaken: nobody will ask for this one
            shared.users += 1
            self._leave(key)

    def _leave(self, key: frozenset[str]) -> None:
        shared = self._shared[key]
        shared.users -= 1
        if shared.users == 0:
            del self._shared[key]
            book = shared.book
            self.texts.release([*book.policies, *(trial.treatment for trial in book.trials)])

    def _take(self, merchant_id: str, versions: Iterable[VersionText]) -> tuple[CompiledPolicy, ...]:
        taken: list[CompiledPolicy] = []
        try:
            taken.extend(self.texts.take(version.body, version.source) for version in versions)
        except PolicyInvalid as refusal:
            self.texts.release(taken)
            raise PoliciesUnusable(merchant_id, refusal) from refusal
        return tuple(taken)

    def _take_trials(self, trials: Iterable[LiveTrial]) -> list[Trial]:
        taken: list[Trial] = []
        for trial in trials:
            try:
                taken.append(Trial(trial.experiment, self.texts.take(trial.version.body, trial.version.source)))
            except PolicyInvalid as refusal:  # everybody gets the live version then
                log.warning("trial_unusable", experiment=str(trial.experiment.id), problem=str(refusal.problems[0]))
        return taken

    def _compile_pinned(self, text: PolicyText) -> Pinned:
        try:
            return self.texts.compile(text.body, text.source)
        except PolicyInvalid as refusal:
            if len(self._unreadable) >= MAX_UNREADABLE:
                self._unreadable.clear()
            refused = UnreadablePolicy(text.digest, text.name, str(refusal.problems[0]))
            self._unreadable[text.digest] = refused
            return refused


def effective(versions: Iterable[VersionText]) -> tuple[VersionText, ...]:
    """Return what is in force: a merchant's own version stands in for the house's of the same kind and name."""
    ordered = sorted(versions, key=lambda version: version.merchant_id is not None)
    return tuple({(version.kind, version.name): version for version in ordered}.values())


def effective_trials(trials: Iterable[LiveTrial], placed: Iterable[VersionText]) -> tuple[LiveTrial, ...]:
    """Return the experiments that concern a merchant: own ones, and the house's where the house's version is live."""
    owners = {(version.kind, version.name): version.merchant_id for version in placed}
    found: dict[tuple[str, str], LiveTrial] = {}
    for trial in sorted(trials, key=lambda each: each.experiment.merchant_id is not None):
        experiment = trial.experiment
        key = (experiment.kind, experiment.name)
        if key in owners and (experiment.merchant_id is not None or owners[key] is None):
            found[key] = trial
    return tuple(found.values())
