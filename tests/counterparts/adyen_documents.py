"""Adyen's own OpenAPI documents as police: of what the plugin sends, what our fake answers, and what it delivers.

`RECOUP_TEST_ADYEN_OPENAPI` names the folder with `CheckoutService-v72.json` and `Webhooks-v1.json` (from
Adyen/adyen-openapi, MIT). They are no part of this repository; without them the police is left out, with one line.
"""

import json
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

FOLDER = "RECOUP_TEST_ADYEN_OPENAPI"
FILES = ("CheckoutService-v72.json", "Webhooks-v1.json")
LONGEST_KEY = 64


class AdyenDocuments:
    """Checks one message at a time; each check returns what is wrong with it, in words."""

    def __init__(self, folder: Path) -> None:
        self._checkout, self._webhooks = (json.loads((folder / name).read_text("utf-8")) for name in FILES)
        self._validators: dict[str, jsonschema.Draft202012Validator] = {}

    def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> list[str]:
        """Check what the plugin sends; header names in lower case."""
        operation = self._operation(method, path)
        if operation is None:
            return [f"no such operation: {method} {path}"]
        wrong = [] if headers.get("x-api-key") else [f"{path}: no X-API-Key"]
        if len(headers.get("idempotency-key", "")) > LONGEST_KEY:
            wrong.append(f"{path}: the Idempotency-Key is too long")
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        return wrong + self._invalid(self._checkout, schema, _with_account(json.loads(body)), path)

    def answer(self, method: str, path: str, status: int, body: bytes) -> list[str]:
        """Check what the fake answers."""
        operation = self._operation(method, path)
        told = operation["responses"].get(str(status)) if operation is not None else None
        if told is None:
            return [f"no such answer: {method} {path} {status}"]
        schema = told["content"]["application/json"]["schema"]
        return self._invalid(self._checkout, schema, json.loads(body), f"{path} {status}")

    def webhook(self, body: bytes) -> list[str]:
        """Check what the fake delivers, by the kind of its first item."""
        envelope = json.loads(body)
        code = envelope["notificationItems"][0]["NotificationRequestItem"]["eventCode"]
        known = self._webhooks["webhooks"].get(f"/{code}")
        if known is None:
            return [f"no such webhook: {code}"]
        schema = known["post"]["requestBody"]["content"]["application/json"]["schema"]
        return self._invalid(self._webhooks, schema, envelope, code)

    def examples(self) -> dict[str, dict[str, Any]]:
        """Return the document's example of each webhook, by event code."""
        told: dict[str, dict[str, Any]] = {}
        for path, item in self._webhooks["webhooks"].items():
            for named in item["post"]["requestBody"]["content"]["application/json"].get("examples", {}).values():
                example = self._webhooks["components"]["examples"][named["$ref"].split("/")[-1]]["value"]
                told[path.removeprefix("/")] = example
        return told

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        for template, item in self._checkout["paths"].items():
            if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path) and method in item:
                found: dict[str, Any] = item[method]
                return found
        return None

    def _invalid(self, document: dict[str, Any], schema: dict[str, Any], value: Any, where: str) -> list[str]:
        name = schema["$ref"]
        if name not in self._validators:
            whole = {"$ref": name, "components": document["components"]}
            self._validators[name] = jsonschema.Draft202012Validator(whole)
        errors = self._validators[name].iter_errors(value)
        return [f"{where}: {'.'.join(map(str, one.path)) or '(body)'}: {one.message[:200]}" for one in errors]


def _with_account(body: dict[str, Any]) -> dict[str, Any]:
    """Complete a stored SEPA debit: the document wants an IBAN with each, beside the stored method that stands for it.

    docs.adyen.com asks for `storedPaymentMethodId` alone; this is the one place where the document is not followed.
    """
    method = body.get("paymentMethod", {})
    if method.get("type") == "sepadirectdebit" and "storedPaymentMethodId" in method:
        return {**body, "paymentMethod": {**method, "iban": "-", "ownerName": "-"}}
    return body


@cache
def adyen_documents() -> tuple[AdyenDocuments | None, str]:
    """Return the police, or None and the line that says why it is left out.

    A folder that is named and does not hold the documents is an error where services are required.
    """
    named = os.environ.get(FOLDER)
    if not named:
        return None, f"left out: {FOLDER} names no folder with Adyen's OpenAPI documents"
    folder = Path(named)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if not missing:
        return AdyenDocuments(folder), ""
    line = f"left out: {FOLDER} names {named}, which has no {missing[0]}"
    if os.environ.get("RECOUP_REQUIRE_SERVICES") == "1":
        raise FileNotFoundError(line)
    return None, line
