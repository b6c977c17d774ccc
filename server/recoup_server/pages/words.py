"""What the pages say, in each of their languages: one `words/<language>.toml` each, complete or refused at import."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from recoup_core.domain.decline import DeclineCategory
from recoup_core.domain.payment import Method

LANGUAGES: Final = ("en", "de", "fr", "es")

_FOLDER: Final = Path(__file__).parent / "words"


class Words(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The texts of one language; `{name}` is filled in."""

    title: str
    owed: str
    owed_text: str
    paid: str
    paid_text: str
    processing: str
    processing_text: str
    closed: str
    closed_text: str
    upcoming: str
    upcoming_text: str
    upcoming_change: str
    past: str
    past_text: str
    charge_made: str
    charge_made_text: str
    called_off: str
    called_off_text: str
    card_ends: str
    charge_at: str
    card_expires: str
    details: str
    amount: str
    plan: str
    reference: str
    method: str
    failed_at: str
    paid_at: str
    go_on: str
    go_on_text: str
    no_page: str
    unavailable: str
    unavailable_text: str
    try_again: str
    back: str
    reload: str
    what_next: str
    next_retry: str
    no_retry: str
    no_retry_no_page: str
    change_pause: str
    change_downgrade: str
    change_downgrade_plan: str
    change_cancel: str
    questions: str
    write_to: str
    help_page: str
    expired: str
    expired_text: str
    unknown: str
    unknown_text: str
    busy: str
    busy_text: str
    trouble: str
    trouble_text: str
    unsubscribe: str
    unsubscribe_text: str
    unsubscribe_do: str
    unsubscribed: str
    unsubscribed_text: str
    reasons: Mapping[DeclineCategory, str]
    """Why the bank refused, as its customer may read it: never that fraud is suspected. Empty: nothing is said."""
    methods: Mapping[Method, str]

    def __post_init__(self) -> None:
        """Refuse a language in which something could not be said."""
        lost = [*(set(DeclineCategory) - set(self.reasons)), *(set(Method) - set(self.methods))]
        if lost:
            raise ValueError(f"no words for {', '.join(sorted(lost))}")


def fill(text: str, **values: Any) -> str:
    """Return a text with its placeholders filled; what fills them is never looked through for more of them."""
    return text.format_map(values)


def _read(language: str) -> Words:
    return msgspec.convert(tomllib.loads((_FOLDER / f"{language}.toml").read_text("utf-8")), Words)


WORDS: Final[Mapping[str, Words]] = {language: _read(language) for language in LANGUAGES}
