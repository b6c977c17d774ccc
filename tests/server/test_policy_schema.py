"""The JSON Schema over HTTP, as an editor fetches it."""

from typing import Any

from recoup_core.rules.language.json_schema import policy_schema
from recoup_server.app import PREFIX


async def test_an_editor_gets_the_schema_without_a_key(client: Any) -> None:
    """Editors send no API key, and the schema holds nothing of anybody's."""
    answer = await client.get(f"{PREFIX}/policies/schema")

    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == "application/schema+json"
    assert answer.json() == policy_schema()


async def test_what_has_not_changed_is_not_sent_again(client: Any) -> None:
    """A quarter of a megabyte each time a file is opened would be a waste."""
    tag = (await client.get(f"{PREFIX}/policies/schema")).headers["etag"]

    for known in (tag, f"W/{tag}", f'"another", {tag}'):
        again = await client.get(f"{PREFIX}/policies/schema", headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = await client.get(f"{PREFIX}/policies/schema", headers={"If-None-Match": '"another"'})
    assert other.status_code == 200
