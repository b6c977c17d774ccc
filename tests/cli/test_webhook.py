"""`recoup webhook`: an endpoint made, tested, switched, replayed and looked at, in a person's name."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

Recoup = Callable[..., Any]


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """A receiver on a port, and what it got."""
    got: list[tuple[dict[str, str], bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hooks", got
    server.shutdown()


def test_an_endpoint_from_its_making_to_its_end(
    shop: None, key_of: Callable[..., Path], recoup: Recoup, receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is printed is what a script needs; what arrives is verified with the printed secret."""
    monkeypatch.setenv("RECOUP_WEBHOOKS_ALLOW", "127.0.0.0/8, 10.0.0.0/8")
    url, got = receiver
    admin = ("--key-file", key_of("ada", role="admin"))
    made = recoup("webhook", "create", url, "--kind", "webhook_endpoint.*", "--description", "billing", *admin)
    assert made.code == 0, made.err
    endpoint, secret = made.out.split()[0], made.out.splitlines()[1]

    tested = recoup("webhook", "test", endpoint, *admin)
    off = recoup("webhook", "disable", endpoint, "--because", "moving", *admin)
    on = recoup("webhook", "enable", endpoint, *admin)
    since = json.loads(recoup("webhook", "list", "--json").out)[0]["created_at"][:19] + "+00:00"
    replayed = recoup("webhook", "replay", endpoint, "--since", since, *admin)
    shown = recoup("webhook", "show", endpoint, "--state", "waiting")
    delivery = json.loads(recoup("webhook", "show", endpoint, "--json").out)["deliveries"][0]["id"]

    assert "it arrived: 204" in tested.out
    headers, body = got[0]
    assert Webhook(secret).verify(body, headers)["type"] == "webhook.test"
    assert ("disabled" in off.out, "moving" in off.out, "enabled" in on.out) == (True, True, True)
    assert "3 deliveries go out" in replayed.out
    assert "webhook_endpoint.created" in shown.out
    assert recoup("webhook", "log", endpoint, delivery).code == 0
    assert recoup("webhook", "secret", endpoint, *admin).out.strip() == secret
    rolled = recoup("webhook", "roll", endpoint, "--hours", "0", *admin).out.strip()
    assert rolled.startswith("whsec_")
    assert rolled != secret
    assert recoup("webhook", "delete", endpoint, *admin).code == 0
    assert "no webhook endpoint" in recoup("webhook", "list").err


def test_what_is_refused_is_told_in_a_line(shop: None, key_of: Callable[..., Path], recoup: Recoup) -> None:
    """Addresses inside, kinds that never come, keys without the role, endpoints nobody has."""
    admin, otto = key_of("ada", role="admin"), key_of("otto", role="operator")
    nobody = "0198d5f0-0000-7000-8000-000000000201"

    inside = recoup("webhook", "create", "https://169.254.169.254/", "--key-file", admin)
    wrong = recoup("webhook", "create", "https://a.example/", "--kind", "refund.suceeded", "--key-file", admin)
    role = recoup("webhook", "create", "https://a.example/", "--key-file", otto)
    nothing = recoup("webhook", "show", nobody)
    unlogged = recoup("webhook", "log", nobody, nobody)

    assert [done.code for done in (inside, wrong, role, nothing, unlogged)] == [1] * 5
    assert "no public address" in inside.err
    assert "refund.succeeded" in wrong.err
    assert "admin" in role.err
    assert "no webhook endpoint" in nothing.err
    assert "no delivery" in unlogged.err
