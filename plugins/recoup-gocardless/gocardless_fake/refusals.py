"""How GoCardless says no (shapes as in its API reference and the fixtures of its SDK)."""

from typing import Any


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, kind: str, reason: str, **more: Any) -> None:
        super().__init__(reason)
        self.status = status
        links = more.pop("links", None)
        one: dict[str, Any] = {"message": reason.replace("_", " "), "reason": reason, **more}
        if links:
            one["links"] = links
        self.body: dict[str, Any] = {
            "error": {
                "code": status,
                "type": kind,
                "message": reason.replace("_", " "),
                "errors": [one],
                "documentation_url": "https://developer.gocardless.com/api-reference",
                "request_id": "deadbeef-0000-4000-8000-000000000000",
            }
        }


def invalid_state(reason: str) -> Refusal:
    """It can't be done to this object now."""
    return Refusal(422, "invalid_state", reason)


def validation_failed(field: str, pointer: str) -> Refusal:
    """A field is wrong; such errors name the field instead of a reason."""
    refusal = Refusal(422, "validation_failed", "validation_failed", field=field, request_pointer=f"/{pointer}")
    del refusal.body["error"]["errors"][0]["reason"]
    return refusal


def not_found() -> Refusal:
    """No such object in this account."""
    return Refusal(404, "invalid_api_usage", "resource_not_found")


def conflict(identity: str) -> Refusal:
    """The key has made an object already."""
    return Refusal(409, "invalid_state", "idempotent_creation_conflict", links={"conflicting_resource_id": identity})
