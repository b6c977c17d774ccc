"""Where a template's own buttons lead: to a page or a mailbox, never into a program."""

import pytest

from recoup_core.templates.engine import Environment
from recoup_core.templates.grammar import Reading


def codes(text: str) -> list[str]:
    return [each.code for each in Reading("a.txt", text, "text").problems(Environment({}, html=False))]


@pytest.mark.parametrize("url", ["javascript:alert(1)", "JavaScript:x", "data:text/html,x", "//x.example", "x", ""])
def test_a_button_that_leads_into_a_program_is_refused(url: str) -> None:
    """Whatever a mail program would make of it."""
    assert codes(f"{{{{ button('Go on', '{url}') }}}}") == ["template_insecure_link"]


@pytest.mark.parametrize("url", ["https://x.example/help", "mailto:help@x.example"])
def test_a_button_to_a_page_or_a_mailbox_is_taken(url: str) -> None:
    """Templates may lead to the merchant's own pages."""
    assert codes(f"{{{{ button('Help', '{url}') }}}}") == []
