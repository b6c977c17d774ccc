"""Who may do what: keys, roles and tenants, on every route there is."""

import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from httpx import AsyncClient, Response
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from recoup_core.domain.ids import new_id
from recoup_core.domain.subscription_request import SubscriptionRequest, Wish
from recoup_core.flows.context import locked_cases
from recoup_core.flows.settlement.matching import match_report
from recoup_core.storage.merchants import Role
from recoup_core.wiring import Service
from recoup_plugins.gateways.sandbox_webhooks import sign
from recoup_server import examples
from recoup_server import examples_billing as billing
from recoup_server import examples_customers as customers
from recoup_server import examples_refunds as refunds
from recoup_server import examples_settlement as settlement
from recoup_server import examples_webhooks as outbound
from recoup_server.app import PREFIX
from recoup_server.auth import KEY_CACHED, Requires

WEBHOOK_SECRET = "the sandbox's webhook secret"

EVERYBODY = set(Role)
WORKERS = {Role.AGENT, Role.OPERATOR, Role.ADMIN}
AUTHORS = {Role.POLICY_AUTHOR, Role.ADMIN}

MAY: dict[str, set[Role]] = {
    "reportFailedPayment": WORKERS,
    "reportCapturedPayment": WORKERS,
    "listPayments": EVERYBODY,
    "getPayment": EVERYBODY,
    "getRefundable": EVERYBODY,
    "requestRefund": WORKERS,
    "previewRefund": WORKERS,
    "listRefunds": EVERYBODY,
    "getRefund": EVERYBODY,
    "getRefundTimeline": EVERYBODY,
    "editRefund": WORKERS,
    "submitRefund": WORKERS,
    "cancelRefund": WORKERS,
    "retryRefund": WORKERS,
    "resolveRefundPart": {Role.OPERATOR, Role.ADMIN},
    "listApprovals": EVERYBODY,
    "approveRefund": EVERYBODY,
    "rejectRefund": EVERYBODY,
    "sendBackRefund": EVERYBODY,
    "decideRefunds": EVERYBODY,
    "listDelegations": EVERYBODY,
    "createDelegation": EVERYBODY,
    "revokeDelegation": EVERYBODY,
    "listDisputes": EVERYBODY,
    "getDispute": EVERYBODY,
    "reportDispute": WORKERS,
    "importSettlement": {Role.OPERATOR, Role.ADMIN},
    "fetchSettlement": {Role.OPERATOR, Role.ADMIN},
    "listSettlements": EVERYBODY,
    "getSettlement": EVERYBODY,
    "listSettlementLines": EVERYBODY,
    "listSettlementExceptions": EVERYBODY,
    "getSettlementException": EVERYBODY,
    "assignSettlementException": {Role.OPERATOR, Role.ADMIN},
    "resolveSettlementException": {Role.OPERATOR, Role.ADMIN},
    "getLedgerAccounts": EVERYBODY,
    "getLedgerBalances": EVERYBODY,
    "getTrialBalance": EVERYBODY,
    "listLedgerEntries": EVERYBODY,
    "exportLedgerCsv": EVERYBODY,
    "exportLedgerBeancount": EVERYBODY,
    "listCases": EVERYBODY,
    "getCase": EVERYBODY,
    "getTimeline": EVERYBODY,
    "getForecast": EVERYBODY,
    "pauseCase": WORKERS,
    "resumeCase": WORKERS,
    "retryNow": WORKERS,
    "cancelCase": WORKERS,
    "updateCredential": WORKERS,
    "listCredentials": EVERYBODY,
    "createUpdateLink": WORKERS,
    "listAttempts": EVERYBODY,
    "getAttempt": EVERYBODY,
    "resolveAttempt": {Role.OPERATOR, Role.ADMIN},
    "announceCharge": WORKERS,
    "listUpcomingCharges": EVERYBODY,
    "getUpcomingCharge": EVERYBODY,
    "editUpcomingCharge": WORKERS,
    "callOffCharge": WORKERS,
    "chargeMade": WORKERS,
    "listSubscriptionRequests": EVERYBODY,
    "getSubscriptionRequest": EVERYBODY,
    "acknowledgeSubscriptionRequest": WORKERS,
    "listCustomers": EVERYBODY,
    "getCustomer": EVERYBODY,
    "setCustomer": WORKERS,
    "changeCustomer": WORKERS,
    "releaseAddress": {Role.OPERATOR, Role.ADMIN},
    "eraseCustomer": {Role.OPERATOR, Role.ADMIN},
    "listMessages": EVERYBODY,
    "getMessage": EVERYBODY,
    "listTasks": EVERYBODY,
    "resolveTask": {Role.OPERATOR, Role.ADMIN},
    "listEvents": EVERYBODY,
    "streamEvents": EVERYBODY,
    "listStaffNotifications": EVERYBODY,
    "muteStaffNotifications": WORKERS,
    "unmuteStaffNotifications": WORKERS,
    "listGateways": EVERYBODY,
    "listNotifiers": EVERYBODY,
    "listInboundEvents": EVERYBODY,
    "getInboundEvent": WORKERS,
    "applyInboundEvent": {Role.OPERATOR, Role.ADMIN},
    "dismissInboundEvent": {Role.OPERATOR, Role.ADMIN},
    "listTemplates": EVERYBODY,
    "previewTemplate": EVERYBODY,
    "listPolicies": EVERYBODY,
    "checkPolicy": AUTHORS,
    "explainPolicy": EVERYBODY,
    "diffPolicies": AUTHORS,
    "listPolicyVersions": EVERYBODY,
    "getPolicyVersion": EVERYBODY,
    "submitPolicyVersion": AUTHORS,
    "shadowPolicyVersion": AUTHORS,
    "activatePolicyVersion": AUTHORS,
    "retirePolicyVersion": AUTHORS,
    "rollBackPolicy": AUTHORS,
    "applyPolicies": AUTHORS,
    "simulatePolicies": AUTHORS,
    "readShadow": EVERYBODY,
    "startExperiment": AUTHORS,
    "listExperiments": EVERYBODY,
    "readExperiment": EVERYBODY,
    "rampExperiment": AUTHORS,
    "stopExperiment": AUTHORS,
    "migrateCases": AUTHORS,
    "createWebhookEndpoint": {Role.ADMIN},
    "listWebhookEndpoints": {Role.OPERATOR, Role.ADMIN},
    "getWebhookEndpoint": {Role.OPERATOR, Role.ADMIN},
    "getWebhookEndpointSecret": {Role.ADMIN},
    "rollWebhookEndpointSecret": {Role.ADMIN},
    "changeWebhookEndpoint": {Role.ADMIN},
    "deleteWebhookEndpoint": {Role.ADMIN},
    "disableWebhookEndpoint": {Role.OPERATOR, Role.ADMIN},
    "enableWebhookEndpoint": {Role.OPERATOR, Role.ADMIN},
    "testWebhookEndpoint": {Role.OPERATOR, Role.ADMIN},
    "replayWebhookEvents": {Role.OPERATOR, Role.ADMIN},
    "listWebhookDeliveries": {Role.OPERATOR, Role.ADMIN},
    "getWebhookDelivery": {Role.OPERATOR, Role.ADMIN},
    "replayWebhookDelivery": {Role.OPERATOR, Role.ADMIN},
    "listApiKeys": {Role.ADMIN},
    "createApiKey": {Role.ADMIN},
    "revokeApiKey": {Role.ADMIN},
}
"""Who may call what; a route that is not here fails the tests. Who decides on a refund is not a matter of these roles:
any key may ask, and approval roles, delegations and four eyes answer (test_approvals)."""

PUBLIC = {"receiveWebhook", "receiveNotifierFeedback", "getPolicySchema"}
"""Signed by the gateway instead; the same for everybody."""

BODIES: dict[str, Any] = {
    "reportFailedPayment": examples.PAYMENT,
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
    "fetchSettlement": settlement.FETCH,
    "assignSettlementException": settlement.ASSIGN,
    "resolveSettlementException": settlement.RESOLVE,
    "cancelCase": examples.CANCEL,
    "dismissInboundEvent": examples.DISMISS_EVENT,
    "updateCredential": examples.CREDENTIAL,
    "createUpdateLink": {},
    "resolveAttempt": examples.RESOLVE_ATTEMPT,
    "resolveTask": examples.RESOLVE_TASK,
    "muteStaffNotifications": {"kind": "task_opened"},
    "unmuteStaffNotifications": {},
    "acknowledgeSubscriptionRequest": {"done": True},
    "announceCharge": billing.CHARGE,
    "editUpcomingCharge": billing.CHARGE_EDITS["card_renewed"],
    "callOffCharge": billing.CALL_OFF,
    "setCustomer": customers.WHOLE["by_mail"],
    "changeCustomer": customers.CHANGES["vulnerable"],
    "releaseAddress": customers.RELEASES["on_their_word"],
    "eraseCustomer": customers.ERASURES["gdpr"],
    "previewTemplate": {"locale": "de"},
    "checkPolicy": examples.POLICY,
    "explainPolicy": examples.EXPLAIN,
    "diffPolicies": examples.DIFF,
    "submitPolicyVersion": examples.POLICY,
    "applyPolicies": examples.POLICY_FILES,
    "simulatePolicies": examples.SIMULATE,
    "startExperiment": examples.EXPERIMENT,
    "rampExperiment": {"share_bp": 5_000},
    "stopExperiment": {"because": "enough seen"},
    "migrateCases": {"dry_run": True},
    "createApiKey": examples.API_KEY,
    "createWebhookEndpoint": outbound.ENDPOINT,
    "changeWebhookEndpoint": outbound.ENDPOINT_EDIT,
    "rollWebhookEndpointSecret": outbound.ROLL,
    "disableWebhookEndpoint": outbound.DISABLE,
    "replayWebhookEvents": outbound.REPLAY,
}


def handlers(app: Litestar) -> Iterator[HTTPRouteHandler]:
    """Every operation of the API."""
    for route in app.routes:
        if route.path.startswith(PREFIX):
            for handler in getattr(route, "route_handlers", ()):
                if handler.operation_id:
                    yield handler


async def call(client: AsyncClient, handler: HTTPRouteHandler, secret: str | None, ids: dict[str, str]) -> Response:
    """Call an operation with a good body and what stands in its path."""
    (path,) = handler.paths
    if handler.operation_id == "deleteWebhookEndpoint":  # the others still need theirs
        ids = ids | {"endpoint_id": ids["spare_endpoint_id"]}
    for name, value in ids.items():
        path = path.replace(f"{{{name}:uuid}}", value).replace(f"{{{name}:str}}", value)
    assert "{" not in path, f"{path}: say in this test what its parameter is"
    headers = {"Idempotency-Key": str(uuid4()), "If-Match": '"999"'}
    if secret is not None:
        headers["Authorization"] = f"Bearer {secret}"
    (method,) = handler.http_methods
    body = BODIES.get(str(handler.operation_id))
    if handler.operation_id == "updateCredential":  # the caller's own gateway, so that only the case can be at fault
        body = {**body, "gateway": ids["gateway"]}
    if body is not None and "payment_id" in body:
        body = {**body, "payment_id": ids["captured_id"]}
    content = b"" if body is None else msgspec.json.encode(body)
    return await client.request(method, PREFIX + path, content=content, headers=headers)


@pytest.fixture
async def ids(
    api: Any,
    report: Callable[..., Awaitable[dict[str, Any]]],
    capture: Any,
    ask: Any,
    person: Any,
    client: AsyncClient,
    clock: Any,
) -> dict[str, str]:
    """One thing of each kind that has an id, all of the first merchant."""
    opened = await report(code="a_code_nobody_knows")
    captured = await capture()
    refund = await ask(captured, 12000)
    about = {"payment_id": captured["payment"]["id"], "gateway_ref": f"dp_{uuid4()}"}
    dispute = (await api.post("/disputes", refunds.DISPUTES["inquiry"] | about)).json()
    anna = await person("anna", "support_lead")
    delegation = (await anna.post("/delegations", refunds.DELEGATIONS["while_on_leave"])).json()
    attempts = (await api.get("/attempts", payment=opened["payment"]["id"])).json()["items"]
    tasks = (await api.get("/tasks")).json()["items"]
    key = (await api.post("/api-keys", examples.API_KEY)).json()
    uploaded = (await api.post("/settlements?gateway=sandbox", settlement.UNKNOWN_CHARGE_CSV.encode())).json()
    assert await match_report(api.service.context, UUID(uploaded["report"]["id"]), 10)
    exceptions = (await api.get("/settlement-exceptions")).json()["items"]
    event = {"id": f"evt_{uuid4()}", "type": "charge.unheard_of", "created": "2026-11-23T08:59:00Z", "data": {}}
    webhook = msgspec.json.encode(event)
    headers = dict(sign(WEBHOOK_SECRET, event["id"], clock.now(), webhook))
    assert (await client.post(f"{PREFIX}/webhooks/sandbox", content=webhook, headers=headers)).status_code == 200
    inbound = (await api.get("/inbound-events")).json()["items"]
    known = (await api.post("/customers", customers.WHOLE["by_mail"])).json()
    charge = (await api.post("/upcoming-charges", billing.CHARGE)).json()
    nobody = outbound.ENDPOINT | {"url": "http://127.0.0.1:9/hooks", "kinds": []}
    endpoint, spare = [(await api.post("/webhook-endpoints", nobody)).json()["endpoint"]["id"] for _ in range(2)]
    since = {"since": (clock.now() - timedelta(hours=1)).isoformat()}
    assert (await api.post(f"/webhook-endpoints/{endpoint}/replay", since)).json()["replayed"]
    deliveries = (await api.get(f"/webhook-endpoints/{endpoint}/deliveries")).json()["items"]
    return {
        "payment_id": opened["payment"]["id"],
        "captured_id": captured["payment"]["id"],
        "refund_id": refund["refund"]["id"],
        "part_id": refund["parts"][0]["id"],
        "dispute_id": dispute["id"],
        "delegation_id": delegation["id"],
        "case_id": opened["case"]["id"],
        "charge_id": charge["charge"]["id"],
        "request_id": str(await subscription_request_of(api, opened)),
        "attempt_id": attempts[0]["id"],
        "task_id": tasks[0]["id"],
        "key_id": key["key"]["id"],
        "report_id": uploaded["report"]["id"],
        "exception_id": exceptions[0]["id"],
        "inbound_id": inbound[0]["id"],
        "customer_ref": "cus-1042",
        "address_id": known["addresses"][0]["id"],
        "message_id": await own_message(api, known["addresses"][0]["id"]),
        "endpoint_id": endpoint,
        "spare_endpoint_id": spare,
        "delivery_id": deliveries[0]["id"],
        "version_id": (await own_version(api))["id"],
        "experiment_id": (await own_experiment(api))["id"],
        "gateway": "sandbox",
        "kind": "retry",
        "name": "gold-cards",
        "template": "reminder",
        "reader": "anna",
    }


async def subscription_request_of(api: Any, opened: dict[str, Any]) -> UUID:
    """Ask the billing system for something because of a debt."""
    async with locked_cases(api.service.context, [UUID(opened["payment"]["id"])]) as locked:
        draft = locked.draft(UUID(opened["payment"]["id"]), "policy", None)
        request = SubscriptionRequest(
            id=new_id(),
            merchant_id=draft.file.payment.merchant_id,
            case_id=draft.file.case.id,
            payment_id=draft.file.payment.id,
            wish=Wish.RESTORE,
            asked_at=locked.now,
            created_at=locked.now,
        )
        locked.changes.add(request)
        return request.id


async def own_message(api: Any, address_id: str) -> str:
    """Write down a message to the merchant's customer, as a step would."""
    message, address = uuid4(), UUID(address_id)
    async with api.service.database.connection() as connection:
        await connection.execute(
            "INSERT INTO message (id, merchant_id, customer_ref, channel, template, locale, notifier, address_id,"
            " state, text, created_at) SELECT $1, merchant_id, customer_ref, channel, 'reminder', 'en', 'post', id,"
            " 'sent', 'Please pay.', created_at FROM customer_address WHERE id = $2",
            message,
            address,
        )
    return str(message)


OWN = (
    examples.POLICY["text"]
    .replace("name: cards\n", "name: gold-cards\n")
    .replace("{method: card}", "{method: card, segment: consumer, customer.tier: gold}")
)
"""A policy that clashes with none of the shipped ones."""


async def own_version(api: Any) -> dict[str, Any]:
    """Bring in a policy of the merchant's own in two versions, the second live; return the second."""
    for text in (OWN, OWN + "# another version\n"):
        version: dict[str, Any] = (await api.post("/policies/versions", {"text": text})).json()
        assert (await api.post(f"/policies/versions/{version['id']}/activate")).status_code == 200
    return version


async def own_experiment(api: Any) -> dict[str, Any]:
    """Let a third version of the merchant's own policy decide for a tenth of the cases."""
    version = (await api.post("/policies/versions", {"text": OWN + "# a third version\n"})).json()
    experiment = await api.post(f"/policies/versions/{version['id']}/experiment", examples.EXPERIMENT)
    assert experiment.status_code == 201, experiment.text
    return dict(experiment.json())


async def test_every_route_says_who_may_call_it(app: Litestar) -> None:
    """A route without a guard would be open to the world."""
    for handler in handlers(app):
        guards = [guard for guard in handler.resolve_guards() if isinstance(guard, Requires)]
        name = str(handler.operation_id)
        assert len(guards) == (0 if name in PUBLIC else 1), name
    assert {str(handler.operation_id) for handler in handlers(app)} == MAY.keys() | PUBLIC


@pytest.mark.parametrize("role", list(Role))
async def test_each_role_may_do_what_it_may(
    app: Litestar, client: AsyncClient, make_key: Any, ids: dict[str, str], role: Role
) -> None:
    """Every operation with a key of every role: let in, or refused as forbidden, as the table says."""
    secret = await make_key(role)

    for handler in handlers(app):
        name = str(handler.operation_id)
        if name in PUBLIC:
            continue
        answer = await call(client, handler, secret, ids)
        if role in MAY[name]:
            assert answer.status_code not in (401, 403, 500), (name, answer.text)
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), name


async def test_no_route_answers_about_another_merchant(
    app: Litestar, client: AsyncClient, make_key: Any, merchants: tuple[str, str], ids: dict[str, str]
) -> None:
    """Another merchant's thing is not found, on every route that takes an id; the owner finds it."""
    mine, theirs = await make_key("admin"), await make_key("admin", merchant=merchants[1])
    tried = 0

    for handler in handlers(app):
        (path,) = handler.paths
        if "{" not in path or str(handler.operation_id) in PUBLIC | {"previewTemplate"}:  # the installation's, like all
            continue
        tried += 1
        crossing = await call(client, handler, theirs, ids | {"gateway": "sandbox-other"})
        assert (crossing.status_code, crossing.json()["code"]) == (404, "not_found"), handler.operation_id
        own = await call(client, handler, mine, ids)
        assert own.status_code in (200, 409, 412), (handler.operation_id, own.text)

    assert tried >= 24


async def test_no_list_shows_another_merchants_rows(
    app: Litestar, client: AsyncClient, other: Any, ids: dict[str, str]
) -> None:
    """Every list without an id in its path, read by a merchant that has nothing; streams: test_events_stream."""
    shared = {"streamEvents", "listPolicies", "listTemplates", "getLedgerAccounts"} | PUBLIC

    for handler in handlers(app):
        (path,) = handler.paths
        if "{" in path or handler.http_methods != {"GET"} or str(handler.operation_id) in shared:
            continue
        answer = await other.get(path)
        assert answer.status_code == 200, (path, answer.text)
        told = answer.text
        assert not any(value in told for name, value in ids.items() if name not in ("gateway", "kind", "template")), (
            path
        )
        assert not re.search("sandbox(?!-other)", told), path


async def test_filters_find_nothing_of_another_merchant(other: Any, ids: dict[str, str]) -> None:
    """Knowing an id helps nobody: filters by it are narrowed to the caller's own rows."""
    for path, params in (
        ("/recovery-cases", {"payment": ids["payment_id"]}),
        ("/attempts", {"payment": ids["payment_id"]}),
        ("/events", {"case": ids["case_id"]}),
        ("/payments", {"customer": examples.PAYMENT["customer"]["ref"]}),
        ("/refunds", {"payment": ids["captured_id"]}),
        ("/refunds", {"customer": refunds.CAPTURED["customer"]["ref"]}),
        ("/disputes", {"payment": ids["captured_id"]}),
        ("/delegations", {"owner": "anna"}),
        ("/inbound-events", {"gateway": ids["gateway"]}),
        ("/events", {"refund": ids["refund_id"]}),
    ):
        assert (await other.get(path, **params)).json()["items"] == [], path


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "Bearer rk_wrong", "Basic cms6eA==", "Bearer " + "rk_" + "x" * 500]
)
async def test_without_a_good_key_nothing_is_answered(
    app: Litestar, client: AsyncClient, authorization: str | None
) -> None:
    """401 on every route, before anything of the request is read."""
    headers = {} if authorization is None else {"Authorization": authorization}

    answer = await client.get(f"{PREFIX}/payments", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "rk_wrong" not in answer.text


async def test_no_route_answers_without_a_key(app: Litestar, client: AsyncClient, ids: dict[str, str]) -> None:
    """Every operation but the gateways' webhooks."""
    for handler in handlers(app):
        if str(handler.operation_id) not in PUBLIC:
            answer = await call(client, handler, None, ids)
            assert answer.status_code == 401, handler.operation_id


async def test_an_expired_key_is_refused(api: Any, make_key: Any, clock: Any) -> None:
    """At the moment it expires, though it was seen a moment before."""
    api.secret = await make_key("viewer", expires_at=clock.now() + timedelta(seconds=2))
    assert (await api.get("/payments")).status_code == 200

    clock.advance(timedelta(seconds=2))

    assert (await api.get("/payments")).status_code == 401


async def test_a_revoked_key_works_for_seconds_at_most(api: Any, client: AsyncClient, clock: Any) -> None:
    """A process remembers a key for five seconds, then asks again."""
    made = (await api.post("/api-keys", {"principal": "ci", "roles": ["viewer"]})).json()
    headers = {"Authorization": f"Bearer {made['secret']}"}
    assert (await client.get(f"{PREFIX}/payments", headers=headers)).status_code == 200

    revoked = await api.delete(f"/api-keys/{made['key']['id']}")
    clock.advance(KEY_CACHED)

    assert (revoked.status_code, revoked.json()["revoked_at"] is None) == (200, False)
    assert (await client.get(f"{PREFIX}/payments", headers=headers)).status_code == 401


async def test_a_key_is_shown_once(api: Any, service: Service) -> None:
    """The secret is in the answer that makes it, and nowhere else, not even in the database."""
    made = await api.post("/api-keys", {"principal": "ci", "roles": ["agent", "viewer"]})

    assert made.status_code == 201
    secret = made.json()["secret"]
    listed = await api.get("/api-keys")
    assert secret not in listed.text
    assert made.json()["key"] in listed.json()["items"]
    assert made.json()["key"]["roles"] == ["agent", "viewer"]
    async with service.database.connection() as connection:
        rows = await connection.fetch("SELECT to_jsonb(k)::text FROM api_key k")
        events = await connection.fetch("SELECT to_jsonb(e)::text FROM event e")
    assert not any(secret in row[0] for row in [*rows, *events])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"principal": "x", "roles": []}, "roles"),
        ({"principal": "x", "roles": ["emperor"]}, "roles[0]"),
        ({"principal": "", "roles": ["viewer"]}, "principal"),
        ({"principal": "x", "roles": ["viewer"], "expires_at": "2026-11-23T09:00:00Z"}, "expires_at"),
        ({"principal": "x", "roles": ["viewer"], "expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at"),
    ],
)
async def test_a_key_that_makes_no_sense_is_refused(api: Any, body: dict[str, Any], field: str) -> None:
    """Roles are known ones, and nobody makes a key that has already expired."""
    answer = await api.post("/api-keys", body)

    assert (answer.status_code, answer.json()["field"]) == (400, field)
