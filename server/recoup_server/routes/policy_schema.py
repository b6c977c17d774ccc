"""The JSON Schema of policy files, for editors: open to everybody, for it holds nothing of anybody's."""

from functools import cache
from hashlib import sha256
from typing import Annotated, Any, Final

from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter

from recoup_core.rules.language.json_schema import policy_schema_text
from recoup_server.openapi import PUBLIC

MEDIA_TYPE: Final = "application/schema+json"
REVALIDATE: Final = "public, no-cache"
"""An editor may keep it, and asks whether it is still the same one."""

_SAME: Final = ResponseSpec(data_container=None, description="Still the one with this ETag", generate_examples=False)
IfNoneMatch = Annotated[str | None, HeaderParameter(name="If-None-Match", max_length=1_000)]


@cache
def _schema() -> tuple[bytes, str]:
    """Return the schema and its ETag, made once per process."""
    body = policy_schema_text().encode()
    return body, f'"{sha256(body).hexdigest()[:32]}"'


@get(
    "/policies/schema",
    operation_id="getPolicySchema",
    summary="Get the JSON Schema of policy files",
    media_type=MEDIA_TYPE,
    responses={304: _SAME, **PUBLIC},
    security=[{}],
    tags=["policies"],
)
async def get_policy_schema(if_none_match: IfNoneMatch = None) -> Response[Any]:
    """Return what an editor needs to complete and check policies; no API key is needed."""
    body, tag = _schema()
    headers = {"ETag": tag, "Cache-Control": REVALIDATE}
    known = {each.strip().removeprefix("W/") for each in (if_none_match or "").split(",")}
    if tag in known or "*" in known:
        return Response(None, status_code=304, headers=headers, media_type=MEDIA_TYPE)
    return Response(body, headers=headers, media_type=MEDIA_TYPE)


HANDLERS = (get_policy_schema,)
