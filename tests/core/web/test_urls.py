"""A URL means one thing, or is refused."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoup_core.web.urls import Reach, UrlRefused, reach_of, read_url

PUBLIC = Reach()


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/", "ftp://example.com/", "//example.com/", "example.com", "", "https://", "https:///path",
        "https://user@example.com/", "https://user:pw@example.com/", "https://@example.com/", "https://example.com/#x",
        "https://example.com#@evil.com/", "https://example.com\\@127.0.0.1/", "https://exa mple.com/",
        "https://example.com/\r\nX: y", "https://example.com/\x00", "https://example.com:80/",
        "https://example.com:22/", "https://example.com:99999/", "https://example.com:x/", "https://127.0.0.1/",
        "https://2130706433/", "https://0x7f000001/", "https://0x7f.0.0.1/", "https://0177.0.0.1/", "https://127.1/",
        "https://0/", "https://1.2.3/", "https://example.0x1/", "https://[::1]/", "https://[::ffff:127.0.0.1]/",
        "https://[fe80::1%25eth0]/", "https://[::1", "https://169.254.169.254/latest/meta-data/", "https://①②⑦.⓪.⓪.①/",
        "https://127。0。0。1/", "https://-/", "https://a..b/", "https://" + "a" * 64 + ".é/", "https://exa%6dple.com/",
        "https://" + "a." * 200 + "com/", "https://example.com/" + "x" * 2000, "gopher://127.0.0.1:11211/",
    ],
)  # fmt: skip
def test_refused(url: str) -> None:
    """Other schemes, credentials, fragments, odd ports, and every spelling of an address that is not public."""
    with pytest.raises(UrlRefused):
        read_url(url, PUBLIC)


@pytest.mark.parametrize(
    ("url", "host", "path", "authority"),
    [
        ("https://Example.COM/a/b?c=d&e=%20", "example.com", "/a/b?c=d&e=%20", "example.com"),
        ("https://example.com", "example.com", "/", "example.com"),
        ("https://example.com.:443/", "example.com", "/", "example.com"),
        ("https://bücher.example/ü?ß", "xn--bcher-kva.example", "/%C3%BC?%C3%9F", "xn--bcher-kva.example"),
        ("https://8.8.8.8/hook", "8.8.8.8", "/hook", "8.8.8.8"),
        ("https://[2606:4700:4700:0::1111]/", "2606:4700:4700::1111", "/", "[2606:4700:4700::1111]"),
    ],
)
def test_read(url: str, host: str, path: str, authority: str) -> None:
    """Names in ASCII, addresses in their plain form, paths percent-encoded."""
    target = read_url(url, PUBLIC)

    assert (target.host, target.path, target.authority, target.port) == (host, path, authority, 443)


def test_the_settings_widen_the_reach() -> None:
    """Further ports; own networks, by http too; in development this machine."""
    own = reach_of([ip_network("10.0.0.0/8")], [443, 8443], development=False)

    assert read_url("https://example.com:8443/", reach_of([], [443, 8443], development=False)).port == 8443
    assert read_url("http://10.1.2.3:8080/hook", own).at("10.1.2.3") == "http://10.1.2.3:8080/hook"
    assert read_url("http://localhost:3000/", reach_of([], [443], development=True)).port == 3000
    with pytest.raises(UrlRefused):
        read_url("http://127.0.0.1/", own)


@given(text=st.text(max_size=60), start=st.sampled_from(["", "https://", "https://a.example/", "https://a.example:"]))
def test_whatever_is_given_is_read_or_refused(text: str, start: str) -> None:
    """Never another error, and what is read has a host in ASCII that nothing can be hidden in."""
    try:
        target = read_url(start + text, PUBLIC)
    except UrlRefused:
        return
    assert target.host.isascii()
    assert not set(target.host + target.path) & set(" \r\n\t\\#")
