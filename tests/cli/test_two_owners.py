"""An installation that would try a debt beside its provider does not start, and says what to switch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RESCUED = """
environment = "development"
[[gateways]]
name = "adyen-eu"
plugin = "adyen"
[gateways.options]
api_key = "hidden-key"
merchant_account = "Shop"
return_url = "https://shop.invalid/done"
auto_rescue = true
"""


@pytest.mark.parametrize("command", ["up", "worker", "api"])
def test_a_start_with_two_owners_is_refused(
    recoup: Callable[..., Any], configured: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    """Auto Rescue is on, and the settings don't say so: every process names the gateway and both ways out."""
    (tmp_path / "recoup.toml").write_text(RESCUED)
    monkeypatch.setenv("RECOUP_AMQP_URL", "amqp://guest:guest@127.0.0.1:1/%2F")  # never asked

    done = recoup(command)

    assert done.code != 0
    for said in ("adyen-eu", "two owners", "retries_by"):
        assert said in done.err
    assert "Traceback" not in done.err
    assert "hidden-key" not in done.err + done.out
