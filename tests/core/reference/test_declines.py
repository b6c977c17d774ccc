"""What `classify` makes of codes, and that a broken table is refused by file and row."""

import pytest

from recoup_core.domain.decline import Decline, DeclineCategory, DeclineSource, Retryable
from recoup_core.domain.payment import Network
from recoup_core.reference import ReferenceDataBroken, classify, code_named, retryable_codes, visa_category
from recoup_core.reference.declines import parse_codes

STRIPE, ADYEN, ISO = DeclineSource.STRIPE, DeclineSource.ADYEN, DeclineSource.ISO8583
YES, NO, CUSTOMER = Retryable.YES, Retryable.NO, Retryable.AFTER_CUSTOMER_ACTION
HEADER = "code,category,retryable\n"


def reading(decline: Decline) -> tuple[str, Retryable]:
    return decline.category.value, decline.retryable


@pytest.mark.parametrize(
    ("source", "code", "expected"),
    [
        (STRIPE, "insufficient_funds", ("insufficient_funds", YES)),
        (STRIPE, "Insufficient_Funds ", ("insufficient_funds", YES)),
        (STRIPE, "stolen_card", ("lost_or_stolen", NO)),
        (STRIPE, "expired_card", ("expired_or_invalid_credentials", CUSTOMER)),
        (ADYEN, "12", ("insufficient_funds", YES)),
        (ADYEN, "26", ("revoked_mandate", NO)),
        (DeclineSource.ACH, "R01", ("insufficient_funds", YES)),
        (DeclineSource.ACH, "R08", ("revoked_mandate", CUSTOMER)),
        (DeclineSource.SEPA, "am04", ("insufficient_funds", YES)),
        (DeclineSource.SEPA, "MD07", ("not_permitted", NO)),
        (DeclineSource.BACS, "0", ("insufficient_funds", YES)),
        (DeclineSource.BACS, "b", ("expired_or_invalid_credentials", CUSTOMER)),
    ],
)
def test_a_listed_code_has_its_category(source: DeclineSource, code: str, expected: tuple[str, Retryable]) -> None:
    """Each source has a table of its own; case and blanks around a code don't matter."""
    assert reading(classify(source, code)) == expected


@pytest.mark.parametrize("source", list(DeclineSource))
@pytest.mark.parametrize("code", ["", "no_such_code", "99999", "x" * 500])
def test_an_unknown_code_gets_no_unattended_retry(source: DeclineSource, code: str) -> None:
    """Promise 6; and the code keeps within its 64 characters."""
    decline = classify(source, code)

    assert reading(decline) == ("unknown", NO)
    assert decline.code == code[:64]


@pytest.mark.parametrize(("source", "code"), [(ISO, "00"), (ISO, "85"), (ADYEN, "0")])
def test_an_approval_code_in_a_decline_is_unknown(source: DeclineSource, code: str) -> None:
    """An answer that contradicts itself is nothing to act on unattended."""
    assert reading(classify(source, code, network=Network.VISA)) == ("unknown", NO)


@pytest.mark.parametrize(
    ("code", "network", "expected"),
    [
        ("65", Network.VISA, ("velocity_or_limit", YES)),
        ("65", Network.DISCOVER, ("velocity_or_limit", YES)),
        ("65", Network.MASTERCARD, ("authentication_required", CUSTOMER)),
        ("65", None, ("authentication_required", CUSTOMER)),
        ("70", Network.VISA, ("authentication_required", CUSTOMER)),
        ("70", Network.MASTERCARD, ("issuer_generic", CUSTOMER)),
        ("78", Network.VISA, ("not_permitted", CUSTOMER)),
        ("78", Network.MASTERCARD, ("expired_or_invalid_credentials", NO)),
        ("82", Network.VISA, ("expired_or_invalid_credentials", CUSTOMER)),
        ("82", Network.MASTERCARD, ("not_permitted", CUSTOMER)),
        ("83", Network.VISA, ("fraud", NO)),
        ("83", Network.MASTERCARD, ("fraud", CUSTOMER)),
        ("116", Network.AMERICAN_EXPRESS, ("insufficient_funds", YES)),
        ("116", Network.VISA, ("unknown", NO)),
    ],
)
def test_issuer_codes_are_read_by_network(code: str, network: Network | None, expected: tuple[str, Retryable]) -> None:
    """The same digits mean different things; without a network the strictest meaning counts."""
    assert reading(classify(ISO, code, network=network)) == expected


@pytest.mark.parametrize(
    ("code", "network_code", "expected"),
    [
        ("generic_decline", "51", ("insufficient_funds", YES)),
        ("generic_decline", "43", ("lost_or_stolen", NO)),
        ("generic_decline", "R01", ("insufficient_funds", YES)),
        ("generic_decline", "AM04", ("insufficient_funds", YES)),
        ("call_issuer", "51", ("insufficient_funds", CUSTOMER)),
        ("insufficient_funds", "05", ("insufficient_funds", YES)),
        ("insufficient_funds", "41", ("lost_or_stolen", NO)),
        ("fraudulent", "51", ("fraud", NO)),
        ("brand_new_code", "51", ("insufficient_funds", NO)),
        ("insufficient_funds", "1Z", ("insufficient_funds", NO)),
    ],
)
def test_the_issuer_sharpens_and_the_stricter_reading_wins(
    code: str, network_code: str, expected: tuple[str, Retryable]
) -> None:
    """A specific word beats a generic one; nothing a second code says makes the first one's answer looser."""
    assert reading(classify(STRIPE, code, network=Network.DISCOVER, network_code=network_code)) == expected


@pytest.mark.parametrize(
    ("advice", "expected"),
    [
        ("03", ("not_permitted", NO)),
        ("3", ("not_permitted", NO)),
        ("21", ("revoked_mandate", NO)),
        ("01", ("expired_or_invalid_credentials", CUSTOMER)),
        ("02", ("insufficient_funds", YES)),
        ("24", ("insufficient_funds", YES)),
        ("99", ("insufficient_funds", YES)),
    ],
)
def test_mastercard_advice_outranks_the_response_code(advice: str, expected: tuple[str, Retryable]) -> None:
    """03 and 21 stop; an advice code that nobody knows changes nothing."""
    decline = classify(STRIPE, "insufficient_funds", network=Network.MASTERCARD, network_code="51", advice_code=advice)

    assert reading(decline) == expected
    assert decline.advice_code == advice.zfill(2)


def test_advice_codes_of_other_networks_mean_nothing() -> None:
    """The table is Mastercard's; the same digits on a Visa decline are no stop."""
    decline = classify(STRIPE, "insufficient_funds", network=Network.VISA, network_code="51", advice_code="03")

    assert decline.retryable is YES


@pytest.mark.parametrize(
    ("advice", "expected"),
    [
        ("do_not_try_again", ("insufficient_funds", NO)),
        ("confirm_card_data", ("expired_or_invalid_credentials", CUSTOMER)),
        ("try_again_later", ("insufficient_funds", YES)),
    ],
)
def test_stripes_advice_is_heeded(advice: str, expected: tuple[str, Retryable]) -> None:
    """`do_not_try_again` stops, `confirm_card_data` asks for the customer, `try_again_later` allows nothing new."""
    assert reading(classify(STRIPE, "insufficient_funds", gateway_advice=advice)) == expected


def test_try_again_later_does_not_loosen_a_stop() -> None:
    """The stricter reading wins."""
    assert classify(STRIPE, "stolen_card", gateway_advice="try_again_later").retryable is NO


@pytest.mark.parametrize(
    "decline",
    [
        classify(STRIPE, "generic_decline", blocked_by_gateway=True),
        classify(STRIPE, "generic_decline", gateway_advice="previously_declined_do_not_retry"),
        classify(ADYEN, "46"),
    ],
)
def test_a_block_by_the_gateway_stops(decline: Decline) -> None:
    """The attempt never reached the issuer and the next one wouldn't either."""
    assert decline.blocked_by_gateway
    assert decline.retryable is NO


@pytest.mark.parametrize(
    ("network_code", "category"), [("14", 1), ("57", 1), ("r0", 1), ("51", 2), ("54", 3), ("05", 4), ("ZZ", 4)]
)
def test_visa_declines_have_their_category(network_code: str, category: int) -> None:
    """Listed codes by the table, all others 4; category 1 is never tried again."""
    decline = classify(STRIPE, "generic_decline", network=Network.VISA, network_code=network_code)

    assert decline.visa_category == visa_category(network_code) == category
    assert category != 1 or decline.retryable is NO


def test_only_visa_declines_have_a_visa_category() -> None:
    """A Visa decline without an issuer's code is generic; another network's has none."""
    assert classify(STRIPE, "generic_decline", network=Network.VISA).visa_category == 4
    assert classify(ISO, "14", network=Network.VISA).visa_category == 1
    assert classify(ISO, "14", network=Network.MASTERCARD).visa_category is None


@pytest.mark.parametrize(
    ("source", "name", "code"),
    [
        (DeclineSource.ADYEN, "Expired Card", "6"),
        (DeclineSource.ADYEN, " not enough BALANCE ", "12"),
        (DeclineSource.ADYEN, "FRAUD", "20"),
        (DeclineSource.ADYEN, "Moon rose", None),
        (DeclineSource.ADYEN, "", None),
        (DeclineSource.STRIPE, "Expired Card", None),
    ],
)
def test_a_code_is_known_by_its_name(source: DeclineSource, name: str, code: str | None) -> None:
    """Adyen's events tell the name of a refusal, its answers the code; other tables have no names."""
    assert code_named(source, name) == code


def test_what_the_provider_said_is_kept() -> None:
    """The raw words stand beside our reading."""
    decline = classify(STRIPE, "do_not_honor", network=Network.VISA, network_code="05", message="no")

    assert (decline.code, decline.source, decline.network_code, decline.message) == ("do_not_honor", STRIPE, "05", "no")
    assert decline.category is DeclineCategory.ISSUER_GENERIC


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (HEADER + "a,insufficient_funds,yes\nb,no_such_category,yes\n", "line 3"),
        (HEADER + "a,unknown,no\n", "line 2"),
        (HEADER + "a,fraud,perhaps\n", "line 2"),
        (HEADER + "a,fraud,no\na,fraud,no\n", "line 3"),
        (HEADER + ",fraud,no\n", "line 2"),
        (HEADER + "a,fraud\n", "line 2"),
        (HEADER + "a,fraud,no,more\n", "line 2"),
        ("code,networks,category,retryable\na,visa maestro,fraud,no\n", "line 2"),
        ("code,networks,category,retryable\na,all,fraud,no\na,visa,fraud,no\n", "line 3"),
        ("code,category,retryable,visa_decline_category\na,fraud,no,5\n", "line 2"),
        ("code,category\na,fraud\n", "line 2"),
    ],
)
def test_a_broken_table_is_refused_by_file_and_row(text: str, where: str) -> None:
    """Nobody should have to search for a wrong row in a hundred."""
    with pytest.raises(ReferenceDataBroken) as refusal:
        parse_codes("some.csv", text)

    assert (refusal.value.file, refusal.value.where) == ("some.csv", where)


@pytest.mark.parametrize(
    ("source", "category", "codes"),
    [
        (DeclineSource.SEPA, DeclineCategory.INSUFFICIENT_FUNDS, ("AM04",)),
        (DeclineSource.SEPA, DeclineCategory.ISSUER_GENERIC, ("MS03",)),
        (DeclineSource.ACH, DeclineCategory.INSUFFICIENT_FUNDS, ("R01", "R09")),
        (DeclineSource.ACH, DeclineCategory.FRAUD, ()),
    ],
)
def test_codes_that_time_alone_may_help_with_are_listed(
    source: DeclineSource, category: DeclineCategory, codes: tuple[str, ...]
) -> None:
    """Codes of the category that need somebody to act are not among them."""
    assert retryable_codes(source, category) == codes
