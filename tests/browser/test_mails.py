"""The mails that come with Recoup, judged in a real browser as the page is."""

from pathlib import Path
from typing import Any

import pytest

from recoup_core.templates.catalogue import Catalogue
from recoup_core.templates.checking import needs_of
from recoup_core.templates.samples import sample
from recoup_core.wiring import shipped_policies

LOCALES = ("en", "de", "fr", "es")
WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}


@pytest.mark.parametrize("locale", LOCALES)
async def test_no_mail_shuts_anybody_out(browser: Any, locale: str) -> None:
    """axe finds nothing against WCAG 2.2 AA in any mail, on a phone."""
    from axe_playwright_python.async_playwright import Axe

    catalogue = Catalogue.load(Path(shipped_policies()) / "templates")
    needs = needs_of(catalogue)
    axe, found = Axe(), []
    context = await browser.new_context(viewport={"width": 390, "height": 844})
    page = await context.new_page()
    await page.route("**/*", lambda route: route.abort())  # pictures of made-up brands lead nowhere
    for name in catalogue.names:
        html = catalogue.render(name, "email", locale, sample("ordinary", needs.get(name, "debt"))).html
        assert html is not None
        await page.set_content(html)
        result = await axe.run(page, options=WCAG)
        found += [f"{name}: {each['id']}" for each in result.response["violations"]]
    await context.close()

    assert found == []
