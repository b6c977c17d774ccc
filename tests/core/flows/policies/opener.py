"""A process of its own that opens cases until its input ends: `python opener.py <database url> <policy file>`.

Writes one line per case: when it was begun and ended (the machine's monotonic clock, nanoseconds), and its digest.
"""

import asyncio
import sys
from pathlib import Path
from time import monotonic_ns
from uuid import uuid4

from recoup_core.domain.decline import DeclineSource
from recoup_core.domain.payment import CredentialRole, Customer, Method, Network
from recoup_core.flows.recover import open_case
from recoup_core.flows.reports import FailureReport, PriorAttempt, ReportedCredential
from recoup_core.ports import SystemClock
from recoup_core.reference import classify
from recoup_core.rules.engine.compile import compile_policy
from recoup_core.rules.language.schema import parse_policy
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.settings import GatewayEntry, Settings
from recoup_core.storage.engine import Database
from recoup_core.telemetry import Metrics
from recoup_core.wiring import Service
from recoup_plugins.gateways.sandbox import SandboxGateway, SandboxOptions


def failure() -> FailureReport:
    declined = classify(DeclineSource.STRIPE, "insufficient_funds", network=Network.VISA)
    return FailureReport(
        merchant_id="default",
        reference=f"inv-{uuid4()}",
        amount_minor=1999,
        currency="EUR",
        customer=Customer(ref=f"cus-{uuid4()}", country="DE"),
        gateway="sandbox",
        method=Method.CARD,
        credentials=(
            ReportedCredential(
                gateway="sandbox",
                token="tok_approve",
                method=Method.CARD,
                network=Network.VISA,
                role=CredentialRole.PRIMARY,
            ),
        ),
        attempts=(PriorAttempt(at=SystemClock().now(), decline=declined),),
    )


async def main(url: str, policy: str) -> None:
    settings = Settings(gateways=(GatewayEntry(name="sandbox", plugin="sandbox"),))
    book = PolicyBook([compile_policy(parse_policy(policy, source="cards.yaml"))])
    gateway = SandboxGateway("sandbox", SandboxOptions(clock=SystemClock()))
    service = Service(settings, Database(url, pool_max=2), {"sandbox": gateway}, book, Metrics())
    await service.open()
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    while not ended.done():
        begun = monotonic_ns()
        opened = await open_case(service.context, failure(), "key:shop", None)
        sys.stdout.write(f"{begun} {monotonic_ns()} {opened.case.policy_digest}\n")
        sys.stdout.flush()
    await service.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]).read_text()))
