"""The OpenAPI 3.1 document: Litestar's, with bodies and components as msgspec itself describes them.

Litestar leaves out that unknown fields are refused, turns whole-number limits into floats and knows nothing of bodies
that a handler decodes itself (`notes` of the team, checked against Litestar 2.25); so those parts are put in here.
"""

import inspect
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from litestar import Litestar, MediaType, Request
from litestar.datastructures import ResponseHeader
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from recoup_core.flows.webhooks_out.messages import WebhookBody
from recoup_server.errors import PROBLEM_JSON, Problem
from recoup_server.examples_answers import ANSWERS
from recoup_server.examples_webhooks import EVENT

API_VERSION: Final = "1"

_TOLD: Final[Mapping[int, str]] = {
    400: "The request can't be read as what this route takes",
    401: "No API key, or one that is not valid",
    403: "The key lacks the role",
    404: "There is nothing of that kind under that id",
    409: "Not possible in the present state",
    412: "Changed since the version in `If-Match` was read",
    413: "The body is larger than 1 MiB",
    422: "Understood, and refused by a rule",
    428: "`If-Match` is missing",
    429: "Too much of it at once",
    503: "The database can't be reached, or too much is under way; try again",
}


def refusals(*statuses: int) -> dict[int, ResponseSpec]:
    """Return the responses of a route that may refuse with these statuses."""
    return {
        status: ResponseSpec(
            data_container=Problem, description=_TOLD[status], media_type=PROBLEM_JSON, generate_examples=False
        )
        for status in statuses
    }


LISTS: Final = refusals(400, 401, 403, 503)
STREAMS: Final = refusals(400, 401, 403, 429, 503)
READS_ONE: Final = refusals(400, 401, 403, 404, 503)
CHANGES: Final = refusals(400, 401, 403, 404, 409, 413, 422, 503)
EDITS: Final = refusals(400, 401, 403, 404, 409, 412, 413, 422, 428, 503)
"""A change to one version of something: `If-Match` says which."""
PUBLIC: Final = refusals(400, 404, 413, 503)

ETAG: Final = [
    ResponseHeader(
        name="ETag",
        documentation_only=True,
        required=True,
        description="The version in quotes; give it back as `If-Match` with a change.",
    )
]
"""The response headers of what has a version."""

BEARER: Final[list[dict[str, list[str]]]] = [{"api_key": []}]


def takes(shape: type[Any], **examples: Any) -> dict[str, Any]:
    """Return a route's `opt` that says which body it decodes, with examples by name."""
    return {"takes": shape, "examples": examples}


class Document(JsonRenderPlugin):
    """Renders the document, once per process."""

    def __init__(self) -> None:
        super().__init__(path="/openapi.json", media_type=MediaType.JSON)
        self._body: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the finished document."""
        if self._body is None:
            self._body = msgspec.json.encode(finish(openapi_schema, request.app))
        return self._body


def openapi_config() -> OpenAPIConfig:
    """Return what Litestar is told about the document."""
    return OpenAPIConfig(
        title="Recoup",
        version=API_VERSION,
        description=(
            "Recovers failed payments and runs refunds by declarative policies. "
            "Amounts are whole minor units of an ISO 4217 currency. "
            "Calls that can move money need an `Idempotency-Key`. Refusals are RFC 9457 problems with a stable `code`."
        ),
        path="/schema",
        render_plugins=[Document()],
        use_handler_docstrings=True,
        components=Components(
            security_schemes={
                "api_key": SecurityScheme(
                    type="http", scheme="bearer", bearer_format="rk_...", description="An API key of a merchant."
                )
            }
        ),
    )


def finish(document: dict[str, Any], app: Litestar) -> dict[str, Any]:
    """Put in the bodies that handlers decode themselves, examples, and Structs' schemas as msgspec describes them."""
    operations = {
        operation["operationId"]: operation
        for item in document["paths"].values()
        for operation in item.values()
        if isinstance(operation, dict) and "operationId" in operation
    }
    shapes: set[type[Any]] = {Problem}
    for handler in _handlers(app):
        shapes.add(handler.parsed_return_field.annotation)
        body = handler.opt.get("takes")
        operation = operations.get(str(handler.operation_id))
        if body is None or operation is None:
            continue
        shapes.add(body)
        operation["requestBody"] = _request_body(body, handler.opt["examples"])
    structs = [shape for shape in shapes if inspect.isclass(shape) and issubclass(shape, msgspec.Struct)]
    bodies = [handler.opt["answers"] for handler in _handlers(app) if "answers" in handler.opt]
    shown = [*structs, *bodies, WebhookBody]
    _, components = msgspec.json.schema_components(shown, ref_template="#/components/schemas/{name}")
    document["components"]["schemas"].update(components)
    for operation in operations.values():
        _show_answers(operation)
    document["webhooks"] = {"event": {"post": _outbound()}}
    return document


def _outbound() -> dict[str, Any]:
    """Return the operation that receivers of our webhooks offer."""
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    header = {"in": "header", "required": True, "schema": {"type": "string"}}
    return {
        "operationId": "receiveEvent",
        "summary": "What webhook endpoints are sent (Standard Webhooks; docs/webhooks-out.md)",
        "tags": ["webhook-endpoints"],
        "parameters": [{"name": name, **header} for name in names],
        "requestBody": _request_body(WebhookBody, {"recovered": EVENT}),
        "responses": {
            "2XX": {"description": "It arrived"},
            "410": {"description": "Send nothing more: the endpoint is disabled"},
            "default": {"description": "It is sent again, for about a day"},
        },
    }


def _handlers(app: Litestar) -> list[HTTPRouteHandler]:
    return [
        handler
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        if isinstance(handler, HTTPRouteHandler) and handler.resolve_include_in_schema()
    ]


def _show_answers(operation: dict[str, Any]) -> None:
    """Put in the examples of an operation's answers, where their shape has some."""
    for response in operation["responses"].values():
        for content in response.get("content", {}).values():
            shape = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
            if shape in ANSWERS:
                content["examples"] = _named(ANSWERS[shape])


def _named(examples: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {"value": value} for name, value in examples.items()}


def _request_body(shape: type[Any], examples: Mapping[str, Any]) -> dict[str, Any]:
    if shape is bytes:
        return {"required": True, "content": {"application/json": {"schema": {}}}}
    content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{shape.__name__}"}}
    if examples:
        content["examples"] = _named(examples)
    return {"required": True, "content": {"application/json": content}}
