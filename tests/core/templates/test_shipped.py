"""The templates that come with Recoup: right in every language, for every customer, by every channel."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from recoup_core.rules.language.names import KNOWN
from recoup_core.templates.catalogue import Catalogue, TemplateFailed, UnknownTemplate
from recoup_core.templates.checking import check_folder, needs_of
from recoup_core.templates.clean import MAX_SUBJECT, sms_parts
from recoup_core.templates.colours import contrast, text_on
from recoup_core.templates.declared import MEANINGS, VARIABLES
from recoup_core.templates.samples import SAMPLES, UNSUBSCRIBE_URL, UPDATE_URL, sample
from recoup_core.wiring import shipped_templates

CATALOGUE = Catalogue.load(shipped_templates())
NEEDS = needs_of(CATALOGUE)
LANGUAGES = ("en", "de", "fr", "es")
CONFIDENTIAL = ("lost_or_stolen", "fraud", "unknown")


class Page(HTMLParser):
    """Collects tags and addresses of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links.update(value or "" for name, value in attrs if name in ("href", "src"))


def test_the_shipped_folder_has_no_problem() -> None:
    """What comes along is held to its own check, warnings included."""
    assert check_folder(shipped_templates()).problems == ()


def test_lint_knows_the_templates_of_the_folder() -> None:
    """A policy that names one of them is not warned, one that names another is."""
    assert sorted(KNOWN["templates"]) == list(CATALOGUE.names)


def test_every_variable_has_a_meaning() -> None:
    """A field added to the data is told to authors."""
    groups = {"brand"}

    assert VARIABLES.keys() - groups == MEANINGS.keys()


@pytest.mark.parametrize("name", CATALOGUE.names)
@pytest.mark.parametrize("locale", LANGUAGES)
@pytest.mark.parametrize("customer", SAMPLES)
def test_every_mail_holds_for_every_customer(name: str, locale: str, customer: str) -> None:
    """No markup, link or header line comes from data; every mail can be left, and leads to the page to pay."""
    data = sample(customer, NEEDS.get(name, "debt"))

    said = CATALOGUE.render(name, "email", locale, data)

    assert said.locale == locale
    assert said.subject
    assert said.html
    assert len(said.subject) <= MAX_SUBJECT
    assert said.subject.isprintable()
    page = Page(said.html)
    assert not {"script", "img"} & page.tags
    assert not [link for link in page.links if "evil" in link]
    for part in (said.subject, said.text, said.html):
        assert "None" not in part
        assert "{{" not in part.replace("{{ brand }}", "")
        assert not any(char in part for char in "\ue000\ue001\ue002\u202e")
    if SAMPLES[customer].links:
        assert UNSUBSCRIBE_URL in said.text
        assert UNSUBSCRIBE_URL in page.links
        assert (UPDATE_URL in said.text) == (UPDATE_URL in page.links) == (name != "payment_received")


@pytest.mark.parametrize("name", CATALOGUE.names)
@pytest.mark.parametrize("locale", LANGUAGES)
def test_an_ordinary_sms_is_one(name: str, locale: str) -> None:
    """Each part more is paid for; the link is as long as real ones."""
    said = CATALOGUE.render(name, "sms", locale, sample("ordinary", NEEDS.get(name, "debt")))

    assert sms_parts(said.text) == 1, said.text


@pytest.mark.parametrize("locale", LANGUAGES)
@pytest.mark.parametrize("reason", CONFIDENTIAL)
def test_what_banks_say_in_confidence_is_not_passed_on(locale: str, reason: str) -> None:
    """A suspicion of fraud reads like any other refusal."""
    words = CATALOGUE.words(locale)

    assert words is not None
    assert words.say(f"reasons.{reason}") == words.say("reasons.issuer_generic")


def test_a_country_gets_its_languages_words_with_its_own_numbers() -> None:
    """de-AT falls back to de in words alone."""
    austrian = CATALOGUE.render("reminder", "email", "de-AT", sample("ordinary", "debt"))
    german = CATALOGUE.render("reminder", "email", "de", sample("ordinary", "debt"))

    assert austrian.locale == german.locale == "de"
    assert "€\xa049,00" in austrian.text
    assert "49,00\xa0€" in german.text


def test_an_unknown_language_falls_back_to_the_installations() -> None:
    """Never two languages in one message, and never none."""
    catalogue = Catalogue.load(shipped_templates(), locale="fr")

    assert catalogue.render("reminder", "email", "ja", sample("yen", "debt")).locale == "fr"


def test_money_keeps_the_currencys_own_decimals() -> None:
    """Yen have none, dinars three."""
    yen = CATALOGUE.render("reminder", "sms", "en", sample("yen", "debt")).text
    dinar = CATALOGUE.render("reminder", "sms", "en", sample("dinar", "debt")).text

    assert "980,000" in yen
    assert "980,000." not in yen
    assert "1,234.567" in dinar


def test_what_a_template_needs_and_lacks_is_refused_and_so_is_an_unknown_one() -> None:
    """A wrong message is worse than none."""
    with pytest.raises(TemplateFailed):
        CATALOGUE.render("reminder", "email", "en", sample("ordinary", "upcoming"))
    with pytest.raises(UnknownTemplate):
        CATALOGUE.render("no_such", "email", "en", sample("ordinary", "debt"))


@pytest.mark.parametrize("colour", ["#000000", "#ffffff", "#767676", "#1f4fd8", "#ffcc00", "#ff0000", "#777777"])
def test_a_button_can_be_read_on_any_colour(colour: str) -> None:
    """WCAG 2.2 AA asks for 4.5."""
    assert contrast(text_on(colour), colour) >= 4.5


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("{{ greeting() }}\n\n{{ debt.amuont | money }} {{ update_url }}", "template_unknown_variable", 3),
        ("{{ debt.amount | mony }} {{ update_url }}", "template_unknown_filter", 1),
        ("{{ debt.amount }} {{ update_url }}", "template_unformatted", 1),
        ("a\n{{ next_retry | day }} {{ update_url }}", "template_unguarded", 2),
        ("{% for a in brand %}{% endfor %}{{ update_url }}", "template_forbidden", 1),
        ("{% if debt %}{{ update_url }}", "template_syntax", 1),
        ("{{ brand.__class__ }}{{ update_url }}", "template_unknown_variable", 1),
        ("{{ grating() }}{{ update_url }}", "template_unknown_function", 1),
        ("see http://x.example {{ update_url }}", "template_insecure_link", 1),
        ("{{ debt.amount | money }} {{ upcoming.amount | money }} {{ update_url }}", "template_subject", 1),
        ("please pay", "template_no_update_link", 1),
    ],
)
def test_each_mistake_is_found_with_its_line(tmp_path: Path, text: str, code: str, line: int) -> None:
    """Before a customer finds it."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "en.subject.txt").write_text("A word from {{ brand.name }}")
    (tmp_path / "mine" / "en.txt").write_text(text)

    found = check_folder(tmp_path, shipped_templates()).problems

    assert [(problem.code, problem.line) for problem in found] == [(code, line)]


def test_an_own_file_takes_the_place_of_the_one_that_came_along(tmp_path: Path) -> None:
    """Per file: the others stay."""
    (tmp_path / "reminder").mkdir()
    (tmp_path / "reminder" / "de.txt").write_text('Hallo! {{ button("Los", update_url) }}')

    checked = check_folder(tmp_path, shipped_templates())
    said = checked.catalogue.render("reminder", "email", "de", sample("ordinary", "debt"))

    assert checked.problems == ()
    assert said.text.startswith("Hallo!")
    assert said.subject is not None
    assert said.subject.startswith("Zur Erinnerung")
