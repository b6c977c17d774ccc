"""`python -m tests.browser.looks`: pictures of the mails that come with Recoup, for docs/images/mails."""

import asyncio
import shutil
import sys
from pathlib import Path
from typing import Final

from playwright.async_api import async_playwright
from tests.browser.conftest import ARGUMENTS

from recoup_core.templates.catalogue import Catalogue
from recoup_core.templates.checking import needs_of
from recoup_core.templates.samples import sample
from recoup_core.wiring import shipped_policies

FOLDER: Final = Path(__file__).parents[2] / "docs" / "images" / "mails"
PHONE, DESKTOP = 375, 800
LOOKS: Final = (
    ("payment_failed", "en", "ordinary", PHONE),
    ("payment_failed", "en", "ordinary", DESKTOP),
    ("reminder_2", "fr", "ordinary", PHONE),
    ("final_notice", "de", "ended", PHONE),
    ("final_notice", "de", "ended", DESKTOP),
    ("update_payment_method", "es", "ended", PHONE),
    ("card_expiring", "en", "ordinary", PHONE),
    ("debit_prenotification", "de", "debit", PHONE),
    ("reminder", "en", "long", PHONE),
)
"""Template, language, made-up customer, width in CSS pixels."""


async def take(folder: Path) -> None:
    """Render each mail in Chromium and keep the picture of the whole of it."""
    catalogue = Catalogue.load(shipped_policies() / "templates")
    needs = needs_of(catalogue)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        for name, locale, made_up, width in LOOKS:
            page = await browser.new_page(viewport={"width": width, "height": 600})
            html = catalogue.render(name, "email", locale, sample(made_up, needs.get(name, "debt"))).html
            assert html is not None
            await page.set_content(html)
            where = "phone" if width == PHONE else "desktop"
            await page.screenshot(path=folder / f"{name}-{locale}-{where}.png", full_page=True)
            await page.close()
        await browser.close()


if __name__ == "__main__":
    chosen = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    chosen.mkdir(parents=True, exist_ok=True)
    asyncio.run(take(chosen))
