"""Links in messages: nobody but us makes one, and each is for one customer, one purpose and a limited time."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import assume, given
from hypothesis import strategies as st

from recoup_core.flows.links import MAC_BYTES, UNSUBSCRIBE_LIFETIME, Links, LinkToken, Purpose
from recoup_core.signing import SigningKeys

TIMES = st.datetimes(datetime(2024, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 # bounds
NAMES = st.text(min_size=1, max_size=40)


def the_links(key: bytes = b"k" * 32, base: str = "https://pay.example.com") -> Links:
    keys = SigningKeys()
    keys.load(key)
    return Links(base, keys)


LINKS = the_links()


def token_of(url: str) -> str:
    return url.rpartition("/")[2]


def read(text: str) -> LinkToken:
    token = LINKS.read(text)
    assert token is not None
    return token


def opens(text: str, merchant: str, customer: str) -> bool:
    token = LINKS.read(text)
    return token is not None and LINKS.genuine(token, merchant, customer)


@given(case=st.uuids(), merchant=NAMES, customer=NAMES, until=TIMES)
def test_a_link_says_what_it_is_for_and_until_when(case: UUID, merchant: str, customer: str, until: datetime) -> None:
    """It opens until the hour is full, never a moment less than was promised."""
    token = read(token_of(LINKS.update(case, merchant, customer, until)))

    assert (token.purpose, token.subject_id) == (Purpose.UPDATE, case)
    assert LINKS.genuine(token, merchant, customer)
    assert until <= token.expires_at < until + timedelta(hours=1)
    assert not token.expired(token.expires_at - timedelta(microseconds=1))
    assert token.expired(token.expires_at)


@given(case=st.uuids(), until=TIMES, here=st.tuples(NAMES, NAMES), there=st.tuples(NAMES, NAMES))
def test_a_link_is_for_one_customer_of_one_merchant(
    case: UUID, until: datetime, here: tuple[str, str], there: tuple[str, str]
) -> None:
    """Replayed for anybody else it is a forgery; also where two names put together would read the same."""
    assume(here != there)
    text = token_of(LINKS.update(case, *here, until))

    assert opens(text, *here)
    assert not opens(text, *there)


def test_names_that_run_together_are_two_customers() -> None:
    """`ab` of `c` is not `b` of `ca`: names are parted before they are signed."""
    text = token_of(LINKS.update(UUID(int=1), "ab", "c", datetime(2030, 1, 1, tzinfo=UTC)))

    assert not opens(text, "a", "bc")
    assert not opens(text, "abc", "")


@given(case=st.uuids(), until=TIMES, bit=st.integers(0, (1 + 16 + 4 + MAC_BYTES) * 8 - 1))
def test_no_bit_of_a_link_can_be_changed(case: UUID, until: datetime, bit: int) -> None:
    """Neither what it is for, nor until when, nor its signature."""
    text = token_of(LINKS.update(case, "default", "cus-1", until))
    raw = bytearray(_bytes(text))
    raw[bit // 8] ^= 1 << (bit % 8)

    assert not opens(_text(bytes(raw)), "default", "cus-1")


@given(case=st.uuids(), cut=st.integers(0, 54))
def test_a_link_that_was_cut_short_opens_nothing(case: UUID, cut: int) -> None:
    """Mail programs break long addresses."""
    text = token_of(LINKS.update(case, "default", "cus-1", datetime(2030, 1, 1, tzinfo=UTC)))

    assert len(text) == 55
    assert LINKS.read(text[:cut]) is None


@given(text=st.text(max_size=80))
def test_any_text_is_read_without_harm(text: str) -> None:
    """What anybody can put into an address raises nothing."""
    token = LINKS.read(text)

    assert token is None or not LINKS.genuine(token, "default", "cus-1")


@given(raw=st.binary(min_size=41, max_size=41))
def test_well_formed_noise_opens_nothing(raw: bytes) -> None:
    """Whoever knows the form lacks the key; times beyond any calendar are refused, not raised."""
    assert not opens(_text(raw), "default", "cus-1")


def test_a_link_has_one_spelling() -> None:
    """Base64 lets the last character vary: a second spelling would pass limits that count by the text."""
    text = token_of(LINKS.update(UUID(int=7), "default", "cus-1", datetime(2030, 1, 1, tzinfo=UTC)))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

    spellings = [text[:-1] + last for last in alphabet] + [text + "=", text + "\n", f" {text}"]

    assert [each for each in spellings if LINKS.read(each) is not None and opens(each, "default", "cus-1")] == [text]


@given(subject=st.uuids(), until=TIMES)
def test_a_link_for_one_purpose_opens_no_other(subject: UUID, until: datetime) -> None:
    """A link that unsubscribes shows no debt, though case and address had the same id."""
    update = read(token_of(LINKS.update(subject, "default", "cus-1", until)))
    forged = LinkToken(
        purpose=Purpose.UNSUBSCRIBE, subject_id=update.subject_id, expires_at=update.expires_at, mac=update.mac
    )

    assert LINKS.genuine(update, "default", "cus-1")
    assert not LINKS.genuine(forged, "default", "cus-1")


def test_another_installation_s_links_open_nothing_here() -> None:
    """Two installations may serve the same merchant's name; their keys differ."""
    elsewhere = the_links(key=b"another key, of 32 bytes at least")
    text = token_of(elsewhere.update(UUID(int=7), "default", "cus-1", datetime(2030, 1, 1, tzinfo=UTC)))

    assert not opens(text, "default", "cus-1")


def test_unsubscribing_works_long_after() -> None:
    """Mails are kept for more than a year."""
    now = datetime(2027, 3, 1, 12, 30, tzinfo=UTC)
    token = read(token_of(LINKS.unsubscribe(UUID(int=7), "default", "cus-1", now)))

    assert token.purpose is Purpose.UNSUBSCRIBE
    assert not token.expired(now + UNSUBSCRIBE_LIFETIME)


def test_links_are_not_alike() -> None:
    """No two of them share more than what they say: nothing of one helps to guess another."""
    until = datetime(2030, 1, 1, tzinfo=UTC)
    macs = {read(token_of(LINKS.update(UUID(int=number), "default", "cus-1", until))).mac for number in range(200)}

    assert len(macs) == 200


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=")


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")
