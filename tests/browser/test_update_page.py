"""The update page in a real browser: to everybody, by keyboard, without scripts, on a small screen, to the very end."""

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from recoup_core.flows.operate import By, cancel, retry_now

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}
LOCALES = ("en", "de", "fr", "es")
WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
KEPT = Path(__file__).parents[2] / "docs" / "images" / "page"
"""With RECOUP_KEEP_LOOKS=1 the screenshots of the documentation are taken anew."""

OPERATOR = By(merchant_id="default", actor="operator:anna")


@pytest.fixture
async def page(browser: Any, site: Any) -> AsyncIterator[Any]:
    """A page without scripts, as the customer of a strict mail program has it."""
    context = await browser.new_context(ignore_https_errors=True, java_script_enabled=False, viewport=PHONE)
    yield await context.new_page()
    await context.close()


async def states(site: Any) -> dict[str, str]:
    """The address of a page in each state it can be in."""
    owed = await site.owe()
    paid = await site.owe("tok_approve")
    await retry_now(site.service.context, paid.case.id, OPERATOR)
    processing = await site.owe("tok_pending:3d")
    await retry_now(site.service.context, processing.case.id, OPERATOR)
    closed = await site.owe()
    await cancel(site.service.context, closed.case.id, OPERATOR, "waived")
    stuck = await site.owe(known_as="cus_nobody~no_page")
    away = await site.owe(known_as="cus_away~lose_before*99")
    await site.run_due()
    return {
        "owed": site.link(owed),
        "back": site.link(owed) + "?back=1",
        "paid": site.link(paid),
        "processing": site.link(processing),
        "closed": site.link(closed),
        "expired": site.link(owed, days=-1),
        "unknown": f"{site.base}/pay/nonsense",
        "coming": await site.announce(),
        "no-page": site.link(stuck),
        "unavailable": site.link(away),
    }


async def show(page: Any, state: str, url: str) -> None:
    """Open a page; the states that only a press shows are pressed for."""
    await page.goto(url)
    if state in ("no-page", "unavailable"):
        await page.click("button")


@pytest.mark.parametrize("locale", LOCALES)
async def test_no_state_in_any_language_shuts_anybody_out(browser: Any, site: Any, locale: str) -> None:
    """axe finds nothing against WCAG 2.2 AA, at phone and desktop width; nothing runs off the side of the screen."""
    from axe_playwright_python.async_playwright import Axe

    axe, found = Axe(), []
    addresses = await states(site)
    for width, size in (("phone", PHONE), ("desktop", DESKTOP)):
        # axe itself is a script, which the page's own policy would refuse
        context = await browser.new_context(ignore_https_errors=True, bypass_csp=True, viewport=size, locale=locale)
        page = await context.new_page()
        for state, url in addresses.items():
            await show(page, state, url)
            result = await axe.run(page, options=WCAG)
            found += [f"{state} {locale} {width}: {each['id']}" for each in result.response["violations"]]
            assert await page.evaluate("document.documentElement.lang") == locale
            assert await overflow(page) == 0, (state, width)
            await keep(page, state, locale, width)
        await context.close()

    assert found == []


async def keep(page: Any, state: str, locale: str, width: str) -> None:
    if os.environ.get("RECOUP_KEEP_LOOKS") == "1" and (locale == "en" or state == "owed"):
        KEPT.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=KEPT / f"{state}-{locale}-{width}.png", full_page=True)


async def overflow(page: Any) -> int:
    """How many pixels the page is wider than the screen."""
    wider: int = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return wider


@pytest.mark.parametrize("colour", ["#ffffff", "#000000", "#ffd400", "#777777", "#0b6e4f", "#e30613"])
async def test_any_brand_colour_can_be_read(browser: Any, site: Any, colour: str) -> None:
    """White, black and yellow included: words on the button and its edge keep their contrast."""
    import msgspec
    from axe_playwright_python.async_playwright import Axe

    brands = site.service.context.messaging.brands
    brands["default"] = msgspec.structs.replace(brands["default"], colour=colour)
    url = site.link(await site.owe())
    context = await browser.new_context(ignore_https_errors=True, bypass_csp=True, viewport=PHONE)
    page = await context.new_page()
    await page.goto(url)

    result = await Axe().run(page, options=WCAG)

    assert [each["id"] for each in result.response["violations"]] == []
    await context.close()


async def test_small_screens_and_enlarged_text_need_no_scrolling_sideways(browser: Any, site: Any) -> None:
    """WCAG 1.4.10: at 320 pixels (400 % of 1280), with the longest of words and twice the text."""
    opened = await site.owe(reference="R" * 100, plan="Donaudampfschifffahrtsgesellschaft" * 3)
    await site.speaks(opened, "de")
    context = await browser.new_context(
        ignore_https_errors=True, bypass_csp=True, viewport={"width": 320, "height": 640}
    )
    page = await context.new_page()
    await page.goto(site.link(opened))

    assert await overflow(page) == 0
    await page.add_style_tag(content="html { font-size: 200% }")
    assert await overflow(page) == 0
    await context.close()


async def test_from_the_mail_to_the_gateway_and_back_to_a_paid_bill(page: Any, site: Any) -> None:
    """The whole way, without a script and by keyboard alone: link, gateway's page, a new card, tried at once."""
    opened = await site.owe()

    await page.goto(site.link(opened))
    assert "€49.00 is still open" in await page.inner_text("h1")
    await page.keyboard.press("Tab")
    assert await page.locator("button:focus-visible").count() == 1
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"{site.base}/sandbox-pages/*")
    assert opened.payment.reference in await page.inner_text("main")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"{site.base}/pay/*back=1")
    assert "As soon as our payment provider confirms it" in await page.inner_text("main")

    await site.deliver()
    await page.click("text=Check again")

    assert "Thank you, everything is paid" in await page.inner_text("h1")
    told = await site.told(opened.case.id)
    wanted = ["update_page.opened", "update_link.created", "attempt.submitted", "attempt.succeeded", "case.recovered"]
    assert [kind for kind in told if kind in wanted] == wanted
    assert sum(total.moved_minor for total in site.gateway.bank.totals().values()) == 4900


async def test_a_new_card_that_fails_leaves_the_page_open(page: Any, site: Any) -> None:
    """The customer sees that it is still owed, and may go on once more."""
    opened = await site.owe("tok_expired_card", code="expired_card")

    await page.goto(site.link(opened))
    await page.click("button")
    await page.check("input[value=short]")
    await page.click("button")
    await site.deliver()
    await page.goto(site.link(opened))

    assert "€49.00 is still open" in await page.inner_text("h1")
    assert await page.locator("button").count() == 1
    assert "attempt.declined" in await site.told(opened.case.id)


async def test_the_browser_itself_refuses_nothing_of_the_page(browser: Any, site: Any) -> None:
    """The content security policy fits the page: a style or a form that it refused would be told on the console."""
    context = await browser.new_context(ignore_https_errors=True)
    page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("requestfailed", lambda request: complaints.append(request.url))

    await page.goto(site.link(await site.owe()))
    colour = await page.evaluate("getComputedStyle(document.querySelector('.button')).backgroundColor")
    await page.click("button")
    await page.wait_for_url(f"{site.base}/sandbox-pages/*")

    assert colour == "rgb(11, 110, 79)"
    assert [each for each in complaints if "favicon" not in each] == []
    await context.close()


async def test_an_expired_link_shows_neither_amount_nor_reference(page: Any, site: Any) -> None:
    """Whoever finds an old mail learns nothing."""
    opened = await site.owe()
    url = site.link(opened, days=2)
    site.clock.advance(timedelta(days=3))

    answer = await page.goto(url)

    assert answer.status == 410
    said = await page.content()
    assert "49" not in (await page.inner_text("body")).replace("Northwind", "")
    assert opened.payment.reference not in said
    assert "billing@northwind.example" in said
