"""Adyen's webhooks: what is trusted. The vectors are those of the SDK's own tests (notes on gateways, 4.1)."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plugins.adyen_benches import LOGIN
from tests.plugins.fake_adyen_answers import HMAC_KEY, KEY, MERCHANT, OLD_HMAC_KEY, notification, signature, signed

from recoup_plugins import GatewayEvent, GatewaySettings, WebhookRefused
from recoup_plugins.gateways.adyen import AdyenGateway, make_adyen
from recoup_plugins.gateways.adyen_webhooks import time_of, verified_items

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)

VECTORS = [
    ("TestMerchant", "7914073381342284", "TestPayment-1407325143704", "coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0="),
    ("AntoniStroinski", "T7FD4VM4D3RZNN82", "\\\\slashes are fun", "nIgT81gaB5oJpn2jPXupDq68iRo2wUlBsuYjtYfwKqo="),
    ("AntoniStroinski", "M8NB66SBZSGLNK82", ":slashes are fun", "2EQYm7YJpKO4EtHSPu55SQTyWf8dkW5u2nD1tJFpViA="),
    ("AntoniStroinski", "X3GWNS6KJ8NKGK82", "//slashes are fun", "9Z0xdpG9Xi3zcmXv14t/BvMBut77O/Xq9D4CQXSDUi4="),
    ("AntoniStroinski", "ZVWN7D3WSMK2WN82", "\\:/\\/slashes are fun", "CZErGCNQaSsxbaQfZaJlakqo7KPP+mIa8a+wx3yNs9A="),
]


def an_item(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "psp": "QFQTPCQ8HXSKGK82",
        "value": 1999,
        "currency": "EUR",
        "at": NOW,
        "reference": "inv-1",
    }
    return notification("AUTHORISATION", **{**values, **changes})


def a_gateway(**options: Any) -> AdyenGateway:
    values = {"api_key": KEY, "merchant_account": MERCHANT, "return_url": "https://shop.example/back"}
    values |= {"hmac_keys": [OLD_HMAC_KEY, HMAC_KEY], "token_hmac_keys": [HMAC_KEY]}
    return make_adyen(GatewaySettings(name="adyen", plugin="adyen", options={**values, **options}))


def parsed(body: bytes, headers: dict[str, str] | None = None, **options: Any) -> list[GatewayEvent]:
    return list(a_gateway(**options).parse_event(headers or {}, body))


def envelope(*items: Any, live: Any = "false") -> bytes:
    return json.dumps({"live": live, "notificationItems": [{"NotificationRequestItem": one} for one in items]}).encode()


def with_signature(item: dict[str, Any], told: Any) -> dict[str, Any]:
    return {**item, "additionalData": {**item["additionalData"], "hmacSignature": told}}


@pytest.mark.parametrize(("merchant", "psp", "reference", "told"), VECTORS)
def test_adyens_own_vectors_are_accepted(merchant: str, psp: str, reference: str, told: str) -> None:
    """Slashes and colons are signed as they stand: the old rule of escaping them is gone."""
    key, value = (HMAC_KEY, 1130) if merchant == "TestMerchant" else (OLD_HMAC_KEY, 1000)
    item = {
        "pspReference": psp,
        "merchantReference": reference,
        "merchantAccountCode": merchant,
        "amount": {"value": value, "currency": "EUR"},
        "eventCode": "AUTHORISATION",
        "success": "true",
        "additionalData": {"hmacSignature": told},
    }
    whole = {"live": "false", "notificationItems": [{"NotificationRequestItem": item}]}

    ((read, _),) = verified_items(whole, [key], merchant=merchant, live=False)

    assert (read.pspReference, read.merchantReference, read.succeeded) == (psp, reference, True)


@pytest.mark.parametrize("key", [HMAC_KEY, OLD_HMAC_KEY])
def test_two_keys_are_valid_while_one_is_rolled(key: str) -> None:
    """Deliveries signed with the old key are still on their way."""
    (event,) = parsed(signed(an_item(), key=key).body)

    assert event.external_id == f"{MERCHANT}|AUTHORISATION|QFQTPCQ8HXSKGK82|true"
    assert event.kind == "AUTHORISATION"


def test_every_item_is_checked() -> None:
    """The SDK's helper looks at the first one only: a forged second one would pass."""
    good = with_signature(an_item(), signature(an_item()))
    forged = with_signature(an_item(value=1), signature(an_item()))

    assert len(parsed(envelope(good, good))) == 2
    with pytest.raises(WebhookRefused):
        parsed(envelope(good, forged))


@pytest.mark.parametrize(
    "changes",
    [
        {"pspReference": "AAAAAAAAAAAAAA82"},
        {"originalReference": "AAAAAAAAAAAAAA82"},
        {"merchantAccountCode": "Other"},
        {"merchantReference": "inv-2"},
        {"amount": {"currency": "EUR", "value": 1998}},
        {"amount": {"currency": "USD", "value": 1999}},
        {"amount": {"currency": "EUR"}},
        {"amount": None},
        {"eventCode": "REFUND"},
        {"success": "false"},
        {"success": False},
        {"additionalData": {}},
        {"additionalData": None},
        {"additionalData": {"hmacSignature": ""}},
        {"additionalData": {"hmacSignature": None}},
        {"additionalData": {"hmacSignature": 5}},
        {"additionalData": {"hmacSignature": "é"}},
        {"additionalData": {"hmacSignature": "x" * 44}},
    ],
)
def test_what_is_not_signed_so_is_refused(changes: dict[str, Any]) -> None:
    """Each signed field, and each of the shapes on which the SDK's helper raises six kinds of errors."""
    item = with_signature(an_item(), signature(an_item()))

    with pytest.raises(WebhookRefused):
        parsed(envelope({**item, **changes}))


def test_a_missing_amount_is_refused() -> None:
    """The SDK raises KeyError there."""
    item = with_signature(an_item(), signature(an_item()))
    del item["amount"]

    with pytest.raises(WebhookRefused):
        parsed(envelope(item))


@pytest.mark.parametrize("success", [True, "true"])
def test_success_may_be_a_value_or_a_word(success: Any) -> None:
    """It is signed as a word either way."""
    item = {**with_signature(an_item(), signature(an_item())), "success": success, "originalReference": None}

    (event,) = parsed(envelope(item))

    assert event.external_id.endswith("|true")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b"{}",
        b'{"live": "false"}',
        b'{"live": "false", "notificationItems": []}',
        b'{"live": "false", "notificationItems": {}}',
        b'{"live": "false", "notificationItems": [5]}',
        b'{"live": "false", "notificationItems": [{"NotificationRequestItem": []}]}',
        b" " * (1024 * 1024 + 1),
    ],
)
def test_what_is_no_webhook_is_refused(body: bytes) -> None:
    """`WebhookRefused`, and nothing else."""
    with pytest.raises(WebhookRefused):
        parsed(body)


@given(body=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_body_raises_anything_else(body: bytes) -> None:
    """Whatever a stranger sends."""
    with pytest.raises(WebhookRefused):
        parsed(body)


def test_too_many_items_are_refused() -> None:
    """Adyen sends one."""
    good = with_signature(an_item(), signature(an_item()))

    with pytest.raises(WebhookRefused):
        parsed(envelope(*[good] * 101))


@pytest.mark.parametrize(("told", "prefix"), [("true", None), ("false", "live-prefix"), (None, None)])
def test_another_environment_is_refused(told: Any, prefix: str | None) -> None:
    """A test webhook must not settle a live payment; the word is not signed, the keys differ as well."""
    with pytest.raises(WebhookRefused, match="environment"):
        parsed(signed(an_item(), live=told).body, live_prefix=prefix)


def test_another_merchant_account_is_refused() -> None:
    """One endpoint may be given to two accounts by mistake."""
    with pytest.raises(WebhookRefused, match="merchant account"):
        parsed(signed(an_item()).body, merchant_account="OtherECOM")


def test_without_keys_nothing_is_trusted() -> None:
    """An endpoint that is not set up refuses."""
    with pytest.raises(WebhookRefused):
        parsed(signed(an_item()).body, hmac_keys=[])


def test_fields_can_not_be_moved_into_each_other() -> None:
    """Signed fields are joined by colons without escaping: `A:B` + `` signs as `A` + `B` would."""
    moved = {**an_item(), "pspReference": "QFQTPCQ8HXSKGK82:", "merchantAccountCode": MERCHANT}
    original = with_signature(moved, signature(moved))
    longer = {**an_item(), "merchantReference": "inv-1:100:EUR:AUTHORISATION:true"}
    cut = {**longer, "merchantReference": "inv-1", "amount": {"value": 100, "currency": "EUR"}}
    cut["success"] = f"true:{an_item()['amount']['value']}:EUR:AUTHORISATION:{an_item()['success']}"

    assert signature(cut) == signature(longer)
    for item in (original, with_signature(cut, signature(longer))):
        with pytest.raises(WebhookRefused, match="colon"):
            parsed(envelope(item))


@pytest.mark.parametrize("headers", [{}, {"authorization": "Basic x"}, {"authorization": "é"}])
def test_the_login_is_checked_besides_where_there_is_one(headers: dict[str, str]) -> None:
    """A good signature does not help without it."""
    login = {"webhook_user": "hook", "webhook_password": "sesame"}
    body = signed(an_item()).body

    assert parsed(body, LOGIN, **login)
    with pytest.raises(WebhookRefused):
        parsed(body, headers, **login)


def test_an_item_with_strange_unsigned_fields_is_kept() -> None:
    """They are not signed, and a refusal would block all other deliveries behind it."""
    strange = {"reason": 5, "eventDate": [], "paymentMethod": {}, "operations": None, "unheardOf": 1}

    (event,) = parsed(envelope({**with_signature(an_item(), signature(an_item())), **strange}))

    assert event.payload["unheardOf"] == 1


@pytest.mark.parametrize(
    "said",
    [
        *(None, 5, "", "yesterday", "2026-11-23T08:00:00", (NOW + timedelta(days=9)).isoformat()),
        *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"),
    ],
)
def test_a_time_that_can_not_be_believed_is_now(said: Any) -> None:
    """It is not signed, it only orders what is told; a time in the future would win over everything."""
    assert time_of(said, NOW) == NOW


def test_a_time_is_read_with_its_zone() -> None:
    """Adyen writes the zone of the account."""
    assert time_of("2026-11-23T09:30:00+01:00", NOW) == datetime(2026, 11, 23, 8, 30, tzinfo=UTC)


# --- tokens -----------------------------------------------------------------------------------------------------------


def a_token_webhook(**changes: Any) -> bytes:
    data = {"merchantAccount": MERCHANT, "shopperReference": "shopper_1", "storedPaymentMethodId": "M5N7TQ4TG5PFWR50"}
    told = {"type": "recurring.token.disabled", "eventId": "QFQTPCQ8HXSKGK82", "environment": "test", "data": data}
    return json.dumps({**told, "createdAt": "2026-11-23T08:00:00Z", **changes}).encode()


def signed_whole(body: bytes) -> dict[str, str]:
    digest = hmac.new(bytes.fromhex(HMAC_KEY), body, hashlib.sha256).digest()
    return {"hmacsignature": base64.b64encode(digest).decode(), "protocol": "HmacSHA256"}


def test_a_webhook_about_a_token_is_signed_as_a_whole() -> None:
    """Another webhook at Adyen, with a key and a form of its own."""
    body = a_token_webhook()

    (event,) = parsed(body, signed_whole(body))

    assert event.kind == "recurring.token.disabled"
    assert event.occurred_at == datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
    assert event.credential is not None


@pytest.mark.parametrize("lie", ["body", "header", "no key", "environment", "merchant", "shape"])
def test_a_webhook_about_a_token_that_can_not_be_trusted_is_refused(lie: str) -> None:
    """A forged one would block a customer's card."""
    changes = {"environment": {"environment": "live"}, "merchant": {"data": {"merchantAccount": "Other"}}}
    body = a_token_webhook(**changes.get(lie, {"type": 5} if lie == "shape" else {}))
    headers = signed_whole(body) if lie != "header" else {"hmacsignature": "é"}
    sent = body + b" " if lie == "body" else body

    with pytest.raises(WebhookRefused):
        parsed(sent, headers, **({"token_hmac_keys": []} if lie == "no key" else {}))
