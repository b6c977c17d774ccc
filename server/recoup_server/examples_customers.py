"""Bodies of requests about customers, as the API's document shows them."""

from typing import Any, Final

WHOLE: Final[dict[str, Any]] = {
    "by_mail": {
        "ref": "cus-1042",
        "name": "Anna Kern",
        "locale": "de-AT",
        "timezone": "Europe/Vienna",
        "country": "AT",
        "addresses": {"email": "anna@example.com", "sms": "+436641234567"},
    },
}

CHANGES: Final[dict[str, Any]] = {
    "do_not_contact": {"do_not_contact": True, "do_not_contact_because": "asked so by telephone"},
    "another_address": {"addresses": {"email": "anna.kern@example.com", "sms": None}},
    "vulnerable": {"vulnerable": True},
}

RELEASES: Final[dict[str, Any]] = {"on_their_word": {"because": "the customer wrote that the mailbox works again"}}

ERASURES: Final[dict[str, Any]] = {"gdpr": {"because": "the customer asked for it (GDPR, article 17)"}}
