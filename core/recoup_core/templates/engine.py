"""The Jinja environments of text and of HTML: what templates can call, and how values are printed."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final

import msgspec
from babel import Locale
from jinja2 import BaseLoader, DictLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method
from recoup_core.domain.subscription_request import Wish
from recoup_core.templates import pieces
from recoup_core.templates.clean import name_of, one_line
from recoup_core.templates.colours import edge_of, text_on
from recoup_core.templates.formats import clock_text, day_text, money_text
from recoup_core.templates.variables import Debt, MessageData, NextChange
from recoup_core.templates.words import Words

_TELLING: Final = "_telling"
"""Where a render's own things stand in its context; templates can't name it (`grammar` knows the declared names)."""


class Telling(msgspec.Struct, frozen=True, kw_only=True):
    """One message being put into words."""

    data: MessageData
    words: Words
    locale: Locale

    def money(self, money: Money) -> str:
        """Return an amount as the language writes it."""
        return money_text(money, self.locale)

    def day(self, at: date | datetime) -> str:
        """Return a date in the customer's zone."""
        return day_text(at, self.data.zone, self.locale)

    def clock(self, at: datetime) -> str:
        """Return a time of day in the customer's zone."""
        return clock_text(at, self.data.zone, self.locale)

    def method(self, method: Method) -> str:
        """Return a means of payment."""
        return self.words.say(f"methods.{method.value}")

    def reason(self, debt: Debt) -> str:
        """Return why the payment failed, in words that a customer understands; nothing where it isn't known."""
        return "" if debt.reason is None else self.words.say(f"reasons.{debt.reason.value}")

    def change(self, change: NextChange) -> str:
        """Return what becomes of the subscription, and when; what is given back is no consequence."""
        if change.wish is Wish.RESTORE:
            return ""
        place = change.wish.value
        if change.wish is Wish.DOWNGRADE and not change.plan:
            place = "downgrade_to_less"
        return self.words.say(f"changes.{place}", day=self.day(change.at), plan=one_line(change.plan or ""))

    def greeting(self) -> pieces.Piece:
        """Return how the customer is greeted."""
        name = name_of(self.data.customer_name)
        text = self.words.say("greeting", name=name) if name else self.words.say("greeting_nobody")
        return pieces.Piece(one_line(text))

    def signature(self) -> pieces.Piece:
        """Return how the message ends."""
        return pieces.lines(*self.words.say("signature", brand=one_line(self.data.brand.name)).split("\n"))

    def rows(self) -> list[tuple[str, str]]:
        """Return what the message is about, as labels and values."""
        about = self.data.debt or self.data.upcoming
        if about is None:
            return []
        rows = [("reference", about.reference), ("plan", about.plan), ("amount", self.money(about.amount))]
        if self.data.upcoming is about:
            rows += [("charge_at", self.day(self.data.upcoming.charge_at)), ("method", self.method(about.method))]
        elif self.data.next_retry is not None:
            rows.append(("next_retry", self.day(self.data.next_retry)))
        return [(self.words.say(f"labels.{label}"), value) for label, value in rows if value]

    def colours(self) -> tuple[str, str, str]:
        """Return the colours of a button: its own, of its words, of its edge."""
        colour = self.data.brand.colour
        return colour, text_on(colour), edge_of(colour)

    def context(self) -> dict[str, Any]:
        """Return what a template is given."""
        given: dict[str, Any] = {name: getattr(self.data, name) for name in MessageData.__struct_fields__}
        given["customer_name"] = name_of(self.data.customer_name)
        return {**given, _TELLING: self}


def _telling(context: Context) -> Telling:
    found: Telling = context[_TELLING]
    return found


def _filter(name: str) -> Any:
    @pass_context
    def apply(context: Context, value: Any) -> str:
        text: str = getattr(_telling(context), name)(value)
        return text

    return apply


def _function(make: Any) -> Any:
    @pass_context
    def call(context: Context, *values: Any) -> str:
        text: str = make(_telling(context), *values)
        return text

    return call


_IN_TEXT: Final[Mapping[str, Any]] = {
    "greeting": _function(Telling.greeting),
    "signature": _function(Telling.signature),
    "details": _function(lambda telling: pieces.table(telling.rows())),
    "button": _function(lambda _, label, url: pieces.button(str(label), url)),
}


def _as_markup(name: str) -> Any:
    """Return a function of HTML parts: what it leaves in a text, turned into HTML at once."""

    @pass_context
    def call(context: Context, *values: Any) -> Markup:
        left = _IN_TEXT[name](context, *values)
        return pieces.as_html(pieces.blocks(left), _telling(context).colours())

    return call


class Environment(ImmutableSandboxedEnvironment):
    """Undeclared things raise, and nothing of Jinja's own is within reach."""

    def __init__(self, files: Mapping[str, str], *, html: bool) -> None:
        loader: BaseLoader = DictLoader(dict(files))
        super().__init__(
            loader=loader,
            autoescape=html,
            undefined=StrictUndefined,
            finalize=_printed,
            trim_blocks=html,  # in text, a tag on a line of its own parts paragraphs, as an empty line does
            lstrip_blocks=True,
            auto_reload=False,
            cache_size=-1,
        )
        self.filters = {name: _filter(name) for name in ("money", "day", "clock", "method", "reason", "change")}
        self.globals = {name: _as_markup(name) for name in _IN_TEXT} if html else dict(_IN_TEXT)
        self.tests = {}


def _printed(value: Any) -> Any:
    """Print a value: ours as it is, anybody else's in one clean line, nothing for what isn't there."""
    if value is None:
        return ""
    if isinstance(value, pieces.Piece | Markup):
        return value
    return one_line(value) if type(value) is str else value
