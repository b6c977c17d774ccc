"""The OpenAPI document is true: whatever is sent, each answer is one that the document promises."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from litestar import Litestar
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from recoup_core.storage.merchants import Role, mint_key
from recoup_core.wiring import Service
from recoup_server import examples
from recoup_server import examples_billing as billing
from recoup_server import examples_customers as customers
from recoup_server import examples_refunds as refunds
from recoup_server import examples_webhooks as outbound
from recoup_server.app import PREFIX, create_app
from recoup_server.errors import STATUSES

EXAMPLES = 8
"""Generated calls of each operation and mode."""

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

BODIES = {
    "reportFailedPayment": examples.PAYMENT,
    "cancelCase": examples.CANCEL,
    "updateCredential": examples.CREDENTIAL,
    "resolveAttempt": examples.RESOLVE_ATTEMPT,
    "resolveTask": examples.RESOLVE_TASK,
    "acknowledgeSubscriptionRequest": {"done": True},
    "announceCharge": billing.CHARGE,
    "editUpcomingCharge": billing.CHARGE_EDITS["card_renewed"],
    "callOffCharge": billing.CALL_OFF,
    "setCustomer": customers.WHOLE["by_mail"],
    "changeCustomer": customers.CHANGES["vulnerable"],
    "releaseAddress": customers.RELEASES["on_their_word"],
    "eraseCustomer": customers.ERASURES["gdpr"],
    "dismissInboundEvent": examples.DISMISS_EVENT,
    "checkPolicy": examples.POLICY,
    "submitPolicyVersion": examples.POLICY,
    "applyPolicies": examples.POLICY_FILES,
    "explainPolicy": examples.EXPLAIN,
    "simulatePolicies": examples.SIMULATE,
    "createApiKey": examples.API_KEY,
    "reportCapturedPayment": refunds.CAPTURED,
    "requestRefund": refunds.PARTIAL,
    "previewRefund": refunds.PARTIAL,
    "editRefund": refunds.EDITS["less"],
    "cancelRefund": refunds.CANCEL,
    "retryRefund": {},
    "resolveRefundPart": refunds.RESOLUTIONS["never_arrived"],
    "approveRefund": {},
    "rejectRefund": refunds.REJECTION,
    "sendBackRefund": refunds.SENDING_BACK,
    "decideRefunds": refunds.BULKS["approve"],
    "createDelegation": refunds.DELEGATIONS["while_on_leave"],
    "reportDispute": refunds.DISPUTES["inquiry"],
    "createWebhookEndpoint": outbound.ENDPOINT,
    "changeWebhookEndpoint": outbound.ENDPOINT_EDIT,
    "rollWebhookEndpointSecret": outbound.ROLL,
    "disableWebhookEndpoint": outbound.DISABLE,
    "replayWebhookEvents": outbound.REPLAY,
}


POLICY_WRITES = {
    "submitPolicyVersion",
    "shadowPolicyVersion",
    "activatePolicyVersion",
    "retirePolicyVersion",
    "applyPolicies",
    "startExperiment",
    "rampExperiment",
    "stopExperiment",
    "migrateCases",
}
"""They move no money, and the same call again changes nothing."""


ENDINGS = {"cancelCase", "cancelRefund", "rejectRefund", "deleteWebhookEndpoint"}
"""What they are about is over afterwards, so they come last."""


@dataclass
class Running:
    """A real server in a thread, with what is in its database."""

    url: str
    secret: str
    known: dict[str, str]
    """Real ids by path parameter."""


def serve(app: Litestar) -> tuple[uvicorn.Server, threading.Thread, str]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.started
    return server, thread, f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def running(
    service_url: str, make_service: Callable[[str], Service], merchants: tuple[str, str], clock: Any
) -> Iterator[Running]:
    """The API on a port, with an administrator's key and one reported payment."""

    async def first_key() -> str:
        service = await make_service(service_url).open()
        minted = await mint_key(service.database, merchants[0], "first", [Role.ADMIN], clock.now(), actor="system")
        await service.close()
        return minted.secret

    secret = asyncio.run(first_key())
    server, thread, url = serve(create_app(make_service(service_url)))
    headers = {"Authorization": f"Bearer {secret}", "Idempotency-Key": "first"}
    opened = httpx.post(f"{url}{PREFIX}/payments", json=examples.PAYMENT, headers=headers).raise_for_status().json()
    attempts = httpx.get(f"{url}{PREFIX}/attempts", headers=headers).raise_for_status().json()["items"]
    version = httpx.post(f"{url}{PREFIX}/policies/versions", json=examples.POLICY, headers=headers)

    def made(path: str, body: Any) -> Any:
        fresh = headers | {"Idempotency-Key": str(uuid4())}
        return httpx.post(f"{url}{PREFIX}{path}", json=body, headers=fresh).raise_for_status().json()

    captured = made("/payments/captured", refunds.CAPTURED | {"gateway_ref": f"ch_{uuid4()}"})["payment"]["id"]
    refund = made("/refunds", refunds.REFUNDS["full"] | {"payment_id": captured})
    dispute = made("/disputes", refunds.DISPUTES["inquiry"] | {"payment_id": captured, "gateway_ref": f"dp_{uuid4()}"})
    endpoint = made("/webhook-endpoints", outbound.ENDPOINT | {"url": "http://127.0.0.1:9/hooks"})["endpoint"]["id"]
    known = {
        "endpoint_id": endpoint,
        "payment_id": opened["payment"]["id"],
        "case_id": opened["case"]["id"],
        "attempt_id": attempts[0]["id"],
        "gateway": "sandbox",
        "version_id": version.raise_for_status().json()["id"],
        "kind": "retry",
        "name": "cards",
        "captured_id": captured,
        "refund_id": refund["refund"]["id"],
        "part_id": refund["parts"][0]["id"],
        "dispute_id": dispute["id"],
    }
    yield Running(url, secret, known)
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def schema(running: Running) -> Any:
    """The document as a generated client would fetch it."""
    return schemathesis.openapi.from_url(f"{running.url}/schema/openapi.json")


def test_every_answer_is_documented(running: Running, schema: Any) -> None:
    """No 5xx, and no status, content type or shape that the document does not promise, on any operation."""
    operations = [result.ok() for result in schema.get_all_operations()]
    operations.sort(key=lambda operation: operation.definition.raw["operationId"] in ENDINGS)

    assert len(operations) > 20
    for operation in operations:
        try_out(operation, GenerationMode.POSITIVE, running)
        if can_be_wrong(operation):
            try_out(operation, GenerationMode.NEGATIVE, running)


def can_be_wrong(operation: Any) -> bool:
    """Whether the document forbids anything that could be sent: not for a webhook's body, nor where nothing is sent."""
    anything = operation.definition.raw["operationId"] in ("receiveWebhook", "receiveNotifierFeedback")
    return not anything and bool(operation.path_parameters or operation.query or operation.body)


def try_out(operation: Any, mode: GenerationMode, running: Running) -> None:
    """Send generated calls; half of them name things that exist, so that more than the first check is reached."""
    name = operation.definition.raw["operationId"]
    if name == "revokeApiKey":  # the key in use must live on; random ids reach this route all the same
        known: dict[str, str] = {}
    else:
        known = running.known

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), exists=st.booleans(), sound=st.booleans())
    def calls(case: Any, exists: bool, sound: bool) -> None:
        if exists:
            case.path_parameters = {key: known.get(key, value) for key, value in (case.path_parameters or {}).items()}
        if sound and mode is GenerationMode.POSITIVE:
            make_sound(case, name, known)
        case.call_and_validate(headers={"Authorization": f"Bearer {running.secret}"}, checks=CHECKS)

    calls()


def make_sound(case: Any, name: str, known: dict[str, str]) -> None:
    """Put what a caller would know into a generated call, so that it is not refused at the first glance."""
    if case.headers is not None and "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = str(uuid4())
    if case.headers is not None and "If-Match" in case.headers:
        case.headers["If-Match"] = '"1"'
    if not isinstance(case.body, dict) or name not in BODIES:
        return
    if name == "reportCapturedPayment":
        fresh = {"reference": f"generated-{uuid4()}", "gateway_ref": f"ch_{uuid4()}"}
        case.body = {**refunds.CAPTURED, "order_ref": case.body.get("order_ref"), **fresh}
        return
    if name != "reportFailedPayment":
        case.body = {**BODIES[name], **{key: case.body[key] for key in list(case.body)[:1]}}
        if "payment_id" in BODIES[name]:
            case.body["payment_id"] = known.get("captured_id", case.body["payment_id"])
        return
    generated = case.body
    attempts = [{**attempt, "at": "2026-11-23T08:00:00Z", "token": None} for attempt in generated["attempts"]]
    credentials = [
        {**credential, "gateway": "sandbox", "issuer_country": None} for credential in generated.get("credentials", ())
    ]
    case.body = {
        **generated,
        "reference": f"generated-{uuid4()}",
        "amount_minor": min(generated["amount_minor"], 10**9),
        "currency": "EUR",
        "gateway": "sandbox",
        "customer": {**generated["customer"], "country": "DE", "timezone": "Europe/Berlin"},
        "credentials": credentials,
        "attempts": attempts,
    }


def test_the_document_says_what_a_client_needs(running: Running) -> None:
    """Every operation has an id, a summary, a tag, its refusals as problems, and says whether it needs a key."""
    document = httpx.get(f"{running.url}/schema/openapi.json").json()

    assert document["openapi"].startswith("3.1")
    assert document["components"]["securitySchemes"]["api_key"]["scheme"] == "bearer"
    for path, item in document["paths"].items():
        assert path.startswith(PREFIX)
        for operation in item.values():
            assert operation["operationId"]
            assert operation["summary"]
            assert operation["tags"]
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"], (path, status)
            if "/webhooks/" not in path and "/notifier-feedback/" not in path and not path.endswith("/policies/schema"):
                assert operation["security"] == [{"api_key": []}]
                assert {"401", "403"} <= operation["responses"].keys()


def test_money_movers_demand_a_key_in_the_document(running: Running) -> None:
    """A generated client can't forget the Idempotency-Key."""
    document = httpx.get(f"{running.url}/schema/openapi.json").json()
    exempt = {"checkPolicy", "explainPolicy", "simulatePolicies", "diffPolicies", "receiveWebhook", "createApiKey"}
    exempt |= {"previewTemplate"}
    exempt |= {"receiveNotifierFeedback"}
    exempt |= {"testWebhookEndpoint"}
    exempt |= POLICY_WRITES | {"importSettlement", "fetchSettlement", "previewRefund"}

    for operation in changes(document):
        keys = [p for p in operation.get("parameters", []) if p["name"] == "Idempotency-Key"]
        assert bool(keys) is (operation["operationId"] not in exempt), operation["operationId"]
        assert all(key["required"] for key in keys)


def changes(document: Any) -> Iterator[Any]:
    """Every operation that changes something, or may."""
    for item in document["paths"].values():
        for method in ("post", "patch"):
            if method in item:
                yield item[method]


def test_versions_stand_in_the_document(running: Running) -> None:
    """What answers with an ETag says so; what changes one version demands If-Match and may say 412 and 428."""
    document = httpx.get(f"{running.url}/schema/openapi.json").json()
    versioned = {"editRefund", "submitRefund", "approveRefund", "rejectRefund", "sendBackRefund"}
    told = versioned | {"requestRefund", "cancelRefund", "retryRefund", "resolveRefundPart"}

    for operation in changes(document):
        name = operation["operationId"]
        headers = [p for p in operation.get("parameters", []) if p["name"] == "If-Match" and p["required"]]
        assert bool(headers) is (name in versioned), name
        assert {"412", "428"} <= operation["responses"].keys() or name not in versioned, name
        answers = successes(operation)
        assert [("ETag" in answer.get("headers", {})) for answer in answers] == [name in told] * len(answers), name
    for path in ("", "/timeline"):
        answer = document["paths"][f"{PREFIX}/refunds/{{refund_id}}{path}"]["get"]["responses"]["200"]
        assert answer["headers"]["ETag"]["required"] is True


SHOWN = {"refunds", "approvals", "disputes", "settlement"}
"""Tags of operations whose answers are shown as well."""


def test_examples_stand_in_the_document_and_fit_it(running: Running) -> None:
    """Every body that is taken, and every answer about refunds, is shown at least once, as its schema says."""
    document = httpx.get(f"{running.url}/schema/openapi.json").json()

    for item in document["paths"].values():
        for operation in item.values():
            contents = [operation.get("requestBody", {}).get("content", {}).get("application/json", {})]
            if SHOWN.intersection(operation["tags"]):
                contents += [answer["content"]["application/json"] for answer in successes(operation)]
            for content in filter(lambda found: found.get("schema"), contents):
                assert content["examples"], operation["operationId"]
                schema = {**content["schema"], "components": document["components"]}
                for name, example in content["examples"].items():
                    faults = list(Draft202012Validator(schema).iter_errors(example["value"]))
                    assert faults == [], (operation["operationId"], name)


def successes(operation: Any) -> list[Any]:
    """What an operation answers where nothing is refused."""
    return [answer for status, answer in operation["responses"].items() if int(status) < 300]


def test_request_bodies_are_strict_in_the_document(running: Running) -> None:
    """Unknown fields are refused, and the document says so; whole numbers have whole limits."""
    schemas = httpx.get(f"{running.url}/schema/openapi.json").json()["components"]["schemas"]

    assert schemas["PaymentIn"]["additionalProperties"] is False
    assert schemas["PaymentIn"]["properties"]["amount_minor"]["maximum"] == 2**53 - 1
    assert "." not in json.dumps(schemas["PaymentIn"]["properties"]["amount_minor"]["maximum"])


def test_problem_statuses_are_http_errors() -> None:
    """The table maps codes to errors and nothing else."""
    assert all(400 <= status < 600 for status in STATUSES.values())
