"""What settings take as an address of a brand's: it ends up in a content security policy and in links."""

import pytest

from recoup_core.settings_people import is_url


@pytest.mark.parametrize(
    "url",
    [
        "https://cdn.example;script-src *",
        "https://cdn.example 'unsafe-inline'",
        "https://*.example/logo.png",
        "https://cdn.example,https:/x",
        'https://cdn.example"onerror=x/',
        "javascript:alert(1)",
        "data:image/svg+xml,x",
        "//cdn.example/logo.png",
        "https:///logo.png",
    ],
)
def test_an_address_that_would_say_more_than_a_host_is_refused(url: str) -> None:
    """Nobody widens the policy of a page by the name of a logo's host."""
    assert not is_url(url, ("https", "http"))


@pytest.mark.parametrize("url", ["https://cdn.example/logo.png?v=2;x", "http://127.0.0.1:8460", "https://[::1]:1/x"])
def test_plain_addresses_are_taken(url: str) -> None:
    """A path and a query may hold what a host may not."""
    assert is_url(url, ("https", "http"))
