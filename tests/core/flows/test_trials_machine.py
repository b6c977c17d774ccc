"""Whatever is activated, tried, ramped, stopped and moved in whatever order: each case knows what decided about it."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from recoup_core.domain.errors import IllegalTransition
from recoup_core.flows.experiments import Setup, ramp, start, stop, watch
from recoup_core.flows.migrate import move_cases, preview_moves
from recoup_core.flows.operate import NotAllowedNow, NotFound, pause, resume
from recoup_core.flows.replay import replay
from recoup_core.flows.shadow import follow_shadows
from recoup_core.flows.versions import activate, retire, roll_back, shadow
from recoup_core.rules.study.replay import Chunk, Redoer, Replayed
from recoup_core.storage.decisions import Span
from recoup_core.storage.experiments import running_experiments
from recoup_core.storage.moves import ChosenCases

EXAMPLES, STEPS = 20, 30
START = datetime(2026, 11, 23, 9, tzinfo=UTC)
WAITS = (1, 3, 6, 9)
TABLES = (
    "shadow_decision", "policy_shadow_count", "policy_shadow", "ledger_posting", "ledger_entry", "human_task",
    "event_seal", "event", "job", "attempt", "timeline_step", "decision", "recovery_case", "payment", "credential",
    "policy_experiment_ramp", "policy_experiment", "policy_version WHERE merchant_id = 'default'",
)  # fmt: skip

REFUSALS = (NotAllowedNow, NotFound, IllegalTransition)
LIVE_PATH = ("recovery_case", "timeline_step", "decision", "attempt", "event", "human_task", "job")
"""What a shadow, and a look at a move, never touch."""

_CASES = """
    SELECT c.id, c.policy_digest, c.experiment_id, c.arm, c.experiment_ramp, c.migrations, p.customer ->> 'ref' AS ref,
        (SELECT array_agg(d.policy_digest ORDER BY d.id) FROM decision d WHERE d.case_id = c.id AND d.kind = 'retry')
            AS decided,
        (SELECT array_agg(e.data ->> 'to_digest' ORDER BY e.id) FROM event e
         WHERE e.case_id = c.id AND e.kind = 'case.migrated') AS moved_to,
        (SELECT array_agg(e.data ->> 'from_digest' ORDER BY e.id) FROM event e
         WHERE e.case_id = c.id AND e.kind = 'case.migrated') AS moved_from
    FROM recovery_case c JOIN payment p ON p.id = c.payment_id ORDER BY c.id"""


class TrialsMachine(RuleBasedStateMachine):
    """One example: a merchant with four versions of one policy, the first of them in force."""

    def __init__(self, shop: Any, desk: Any, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.shop, self.desk, self.loop = shop, desk, loop
        self.opened: dict[UUID, tuple[str, Any]] = {}
        """What each case was given when it opened: its version and its arm."""
        self.do(self._empty())
        self.versions = [self.do(desk.bring(desk.waits(days, days))) for days in WAITS]
        self.do(activate(shop.context, self.versions[0].id, desk.own))

    def do(self, work: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(work)

    async def _empty(self) -> None:
        self.shop.clock.set(START)
        async with self.shop.service.database.transaction() as connection:
            await connection.execute("SET LOCAL session_replication_role = replica")
            await connection.execute("; ".join(f"DELETE FROM {table}" for table in TABLES))
            await connection.execute("UPDATE policy_epoch SET number = number + 1")

    def asked(self, work: Awaitable[Any]) -> Any:
        """Ask for something; a refusal is an answer, too."""
        with suppress(*REFUSALS):
            return self.do(work)
        return None

    async def _allowed(self) -> set[str]:
        """The versions that decide about new cases at this moment: what is live, and what is tried."""
        rows = await self.shop.rows(
            "SELECT digest FROM policy_version WHERE state IN ('live', 'experiment') AND name = 'cards-consumer'"
        )
        return {row["digest"] for row in rows}

    async def _untouched(self) -> list[Any]:
        return [await self.shop.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in LIVE_PATH]

    @rule(customer=st.integers(0, 9))
    def a_payment_fails(self, customer: int) -> None:
        allowed = self.do(self._allowed())
        case = self.do(self.shop.open("tok_generic_decline", code="generic_decline", customer={"ref": f"c{customer}"}))
        assert case.case.policy_digest in allowed
        self.opened[case.case.id] = (case.case.policy_digest, case.case.arm)

    @rule(hours=st.sampled_from([1, 30, 24 * 4]))
    def time_passes_and_what_is_due_is_done(self, hours: int) -> None:
        self.shop.clock.advance(timedelta(hours=hours))
        self.do(self.shop.run_due())

    @rule(which=st.integers(0, 3), act=st.sampled_from([activate, activate, shadow, retire]))
    def somebody_moves_a_version(self, which: int, act: Any) -> None:
        self.asked(act(self.shop.context, self.versions[which].id, self.desk.own))

    @rule()
    def somebody_rolls_back(self) -> None:
        self.asked(roll_back(self.shop.context, "retry", "cards-consumer", self.desk.own))

    @rule(which=st.integers(0, 3), share_bp=st.sampled_from([0, 2_000, 5_000, 10_000]))
    def an_experiment_starts(self, which: int, share_bp: int) -> None:
        self.asked(start(self.shop.context, self.versions[which].id, Setup(share_bp=share_bp), self.desk.own))

    @rule(share_bp=st.sampled_from([0, 1_000, 9_000, 10_000]), ends=st.sampled_from([False, False, False, True]))
    def the_experiment_is_changed(self, share_bp: int, ends: bool) -> None:
        for experiment in self.do(self._running()):
            work = (
                stop(self.shop.context, experiment.id, "enough", self.desk.own)
                if ends
                else ramp(self.shop.context, experiment.id, share_bp, self.desk.own)
            )
            self.do(work)

    async def _running(self) -> list[Any]:
        async with self.shop.service.database.connection() as connection:
            return await running_experiments(connection)

    @rule(which=st.one_of(st.none(), st.integers(0, 3)))
    def running_cases_are_moved(self, which: int | None) -> None:
        digest = None if which is None else self.versions[which].digest
        before = self.do(self._untouched())
        seen = self.do(preview_moves(self.shop.context, "default", ChosenCases(), digest))
        assert self.do(self._untouched()) == before
        done = self.do(move_cases(self.shop.context, self.shop.by(), ChosenCases(), digest))
        assert [(m.case_id, m.to_digest, m.refused) for m in done.items] == [
            (m.case_id, m.to_digest, m.refused) for m in seen.items
        ]

    @precondition(lambda self: self.opened)
    @rule(number=st.integers(0, 9), act=st.sampled_from([pause, resume]))
    def somebody_pauses_or_resumes(self, number: int, act: Any) -> None:
        case_id = list(self.opened)[number % len(self.opened)]
        self.asked(act(self.shop.context, case_id, self.shop.by()))

    @rule()
    def shadows_follow_and_experiments_are_looked_at(self) -> None:
        before = self.do(self._untouched())
        self.do(follow_shadows(self.shop.context, self.shop.clock.now()))
        self.do(watch(self.shop.context))
        assert self.do(self._untouched()) == before

    @invariant()
    def every_case_knows_what_decided_about_it(self) -> None:
        """The version of its opening, then each that it was moved to; decisions in between were made by those."""
        arms: dict[tuple[Any, ...], set[Any]] = {}
        for row in self.do(self.shop.rows(_CASES)):
            arms.setdefault((row["experiment_id"], row["experiment_ramp"], row["ref"]), set()).add(row["arm"])
            digest, arm = self.opened[row["id"]]
            moved_to, moved_from = row["moved_to"] or [], row["moved_from"] or []
            pins = [digest, *moved_to]
            assert (row["policy_digest"], row["migrations"]) == (pins[-1], len(moved_to))
            assert moved_from == pins[:-1]
            assert row["arm"] == arm
            assert _in_order(row["decided"] or [], pins)
        assert all(len(found) == 1 for found in arms.values()), "one customer in both arms"

    @invariant()
    def experiments_compare_what_is_in_force(self) -> None:
        """A running one has its version under test, and its control is live; there is one a name."""
        rows = self.do(
            self.shop.rows(
                "SELECT e.id, v.state, (SELECT count(*) FROM policy_version l WHERE l.state = 'live'"
                " AND l.digest = e.control_digest AND l.kind = e.kind AND l.name = e.name"
                " AND coalesce(l.merchant_id, 'default') = 'default') AS controls"
                " FROM policy_experiment e JOIN policy_version v ON v.id = e.version_id WHERE e.stopped_at IS NULL"
            )
        )
        assert len(rows) <= 1
        assert all((row["state"], row["controls"] > 0) == ("experiment", True) for row in rows)
        trying = self.do(self.shop.rows("SELECT id FROM policy_version WHERE state = 'experiment'"))
        assert len(trying) == len(rows)

    def teardown(self) -> None:
        """Every decision of the whole story comes out again."""
        redoer = Redoer()

        async def redo(chunk: Chunk) -> Replayed:
            return redoer(chunk)

        async def all_again() -> list[Any]:
            until = self.shop.clock.now() + timedelta(seconds=1)
            pages = [page async for page in replay(self.shop.service.database, Span(until=until), redo, until)]
            return [difference for page in pages for difference in page.differences]

        assert self.do(all_again()) == []
        redoer.close()


def _in_order(decided: list[str], pins: list[str]) -> bool:
    """Whether the decisions' versions can be read off the pins, each pin at most once and in their order."""
    place = 0
    for digest in decided:
        while place < len(pins) and pins[place] != digest:
            place += 1
        if place == len(pins):
            return False
    return True


def test_cases_know_what_decided_about_them_whatever_is_tried(shop: Any, desk: Any) -> None:
    """Checked after each of up to thirty steps."""
    loop = asyncio.get_event_loop_policy().get_event_loop()
    run_state_machine_as_test(
        lambda: TrialsMachine(shop, desk, loop),
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
