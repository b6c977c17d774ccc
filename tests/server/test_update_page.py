"""The page behind the link in a message: what it shows, to whom, and what its one button does."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from html import unescape
from typing import Any
from uuid import UUID, uuid4

import pytest
from httpx import AsyncClient, Response

from recoup_core.flows.links import UPDATE_PATH
from recoup_core.settings import ApiSettings, Settings
from recoup_core.settings_people import BrandEntry
from recoup_core.storage.engine import Database
from recoup_core.wiring import Service
from recoup_server import examples
from recoup_server import examples_billing as billing
from recoup_server.pages.throttle import GOING_ON, OPENINGS

BASE = "https://billing.example.com"
HOUR = timedelta(hours=1)
Report = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def make_service(
    entries: Any, book: Any, gateways: Any, measures: Any, clock: Any, merchants: tuple[str, str]
) -> Callable[[str], Service]:
    """A service that the outside reaches by https; its first merchant has a brand."""
    brand = BrandEntry(
        merchant=merchants[0],
        name="Café & Söhne",
        colour="#ffd400",
        logo_url="https://cdn.example.com/logo.png?v=2",
        support_email="help@cafe.example",
        support_url="https://cafe.example/help",
        postal_address="Hauptstraße 1\n10115 Berlin",
    )
    settings = Settings(environment="development", gateways=entries, api=ApiSettings(public_url=BASE), brands=(brand,))

    def make(url: str) -> Service:
        return Service(settings, Database(url, pool_max=5), gateways, book, measures, clock)

    return make


@pytest.fixture
def link(service: Service, merchants: tuple[str, str], clock: Any) -> Callable[..., str]:
    """`link(opened)` returns the path of a case's page, as its messages carry it."""

    def make(opened: dict[str, Any], days: int = 30, merchant: str | None = None, customer: str | None = None) -> str:
        url = service.context.messaging.links.update(
            UUID(opened["case"]["id"]),
            merchant or merchants[0],
            customer or examples.PAYMENT["customer"]["ref"],
            clock.now() + timedelta(days=days),
        )
        return url.removeprefix(BASE)

    return make


def words(answer: Response) -> str:
    """What a reader sees: the text of the page, in one line."""
    body = re.sub(r"<style>.*?</style>", "", answer.text, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).replace("\xa0", " ").split())


async def kinds(service: Service, opened: dict[str, Any]) -> list[str]:
    async with service.database.connection() as connection:
        rows = await connection.fetch("SELECT kind FROM event WHERE case_id = $1", UUID(opened["case"]["id"]))
    return [row["kind"] for row in rows]


async def test_the_page_says_what_is_owed_why_and_what_comes_next(
    client: AsyncClient, report: Report, link: Any
) -> None:
    """In the reader's language and zone, with the merchant's name; nothing about cards is asked for."""
    opened = await report(reference=f"2026/<0117> {uuid4()}")

    answer = await client.get(link(opened), headers={"Accept-Language": "de-AT,de;q=0.9,en;q=0.5"})

    assert answer.status_code == 200
    said = words(answer)
    assert "49,00" in said
    assert "sind noch offen" in said
    assert "Ihre Zahlung an Café & Söhne hat nicht geklappt. Auf dem Konto war nicht genug Geld" in said
    assert "Zahlungsart Karte Erster Versuch 23. November 2026" in said
    assert opened["payment"]["reference"] in said
    assert "versuchen wir es automatisch noch einmal" in said
    assert 'lang="de-AT"' in answer.text
    assert "<0117>" not in answer.text
    assert "<input" not in answer.text


async def test_the_page_takes_nothing_from_elsewhere_and_goes_nowhere_else(
    client: AsyncClient, report: Report, link: Any
) -> None:
    """No script at all; the one picture is the brand's; nobody frames, keeps, indexes or is told of it."""
    answer = await client.get(link(await report()))

    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["style-src"].startswith("'sha256-")
    assert policy["img-src"] == "https://cdn.example.com"
    assert policy["form-action"] == "'self' https:"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "noindex" in answer.headers["x-robots-tag"]
    assert "<script" not in answer.text
    assert "style=" not in answer.text
    assert re.findall(r'(?:src|srcset|action|href)="([^"]+)"', answer.text)
    for found in re.findall(r'(?:src|srcset)="([^"]+)"', answer.text):
        assert found == "https://cdn.example.com/logo.png?v=2"


async def test_the_button_leads_to_the_gateways_own_page(
    client: AsyncClient, report: Report, link: Any, api: Any
) -> None:
    """The very page that the API hands out: two that take money could both be paid; it leads back here."""
    opened = await report()
    path = link(opened)

    answer = await client.post(path, headers={"Sec-Fetch-Site": "same-origin"})
    same = await api.post(f"/recovery-cases/{opened['case']['id']}/update-link", {})

    assert answer.status_code == 303
    assert answer.headers["location"] == same.json()["url"]
    assert answer.headers["referrer-policy"] == "no-referrer"


async def test_back_from_the_gateway_the_page_waits_with_its_reader(
    client: AsyncClient, report: Report, link: Any
) -> None:
    """The gateway's word takes a moment; until then the page says so, and how to look again."""
    path = link(await report())

    answer = await client.get(f"{path}?back=1")

    assert "As soon as our payment provider confirms it" in words(answer)
    token = path.removeprefix(UPDATE_PATH)
    assert f'href="{token}?back=1"' in answer.text
    assert f'action="{token}"' in answer.text  # relative: a proxy may serve it under a path of its own


async def test_a_paid_debt_says_thanks_and_asks_for_nothing(
    client: AsyncClient, report: Report, link: Any, api: Any, run_due: Any
) -> None:
    """Nor does its button, pressed late, lead anywhere."""
    opened = await report()
    path = link(opened)
    assert (await api.post(f"/recovery-cases/{opened['case']['id']}/retry-now", {})).status_code == 200
    await run_due()

    answer, pressed = await client.get(path), await client.post(path)

    assert "Thank you, everything is paid" in words(answer)
    assert "We have received €49.00" in words(answer)
    assert "<form" not in answer.text
    assert (pressed.status_code, words(pressed)) == (200, words(answer))


async def test_while_a_try_is_under_way_nobody_is_led_on_to_pay(
    client: AsyncClient, report: Report, link: Any, api: Any, run_due: Any
) -> None:
    """A second payment beside one that may still succeed would be a double charge."""
    opened = await report(token="tok_pending:3d")
    assert (await api.post(f"/recovery-cases/{opened['case']['id']}/retry-now", {})).status_code == 200
    await run_due()

    answer, pressed = await client.get(link(opened)), await client.post(link(opened))

    assert "Your payment is being processed" in words(answer)
    assert "<form" not in answer.text
    assert pressed.status_code == 200


async def test_a_closed_case_asks_for_nothing(client: AsyncClient, report: Report, link: Any, api: Any) -> None:
    """What was called off is not collected through an old mail."""
    opened = await report()
    await api.post(f"/recovery-cases/{opened['case']['id']}/cancel", examples.CANCEL)

    answer, pressed = await client.get(link(opened)), await client.post(link(opened))

    assert "This bill is closed" in words(answer)
    assert "49" not in words(answer).replace(opened["payment"]["reference"], "")
    assert (pressed.status_code, "location" in pressed.headers) == (200, False)


async def test_an_expired_link_tells_how_to_get_another_and_nothing_more(
    client: AsyncClient, report: Report, link: Any, clock: Any, service: Service
) -> None:
    """Neither amount nor reference nor customer, however genuine it is: old mails lie about."""
    opened = await report()
    path = link(opened, days=2)
    clock.advance(timedelta(days=2) + HOUR)

    answer, pressed = await client.get(path), await client.post(path)

    assert (answer.status_code, pressed.status_code) == (410, 410)
    assert "help@cafe.example" in words(answer)
    for secret in (opened["payment"]["reference"], "49", "customer-815", " pro ", opened["case"]["id"]):
        assert secret not in words(answer)
    assert "update_page.opened" not in await kinds(service, opened)


async def test_every_wrong_link_gets_the_same_answer(
    client: AsyncClient, report: Report, link: Any, merchants: tuple[str, str], service: Service, clock: Any
) -> None:
    """Mistyped, forged, another customer's, another merchant's, a case that is not there, another purpose: one 404."""
    opened = await report()
    good = link(opened)
    links, until = service.context.messaging.links, clock.now() + HOUR
    nothing = links.update(uuid4(), merchants[0], "customer-815", until).removeprefix(BASE)
    wrong = [
        f"{UPDATE_PATH}nonsense",
        good[:-1],
        good[:-1] + ("A" if good[-1] != "A" else "Q"),
        link(opened, customer="customer-816"),
        link(opened, merchant=merchants[1]),
        nothing,
        link({"case": {"id": str(uuid4())}}, days=-400),
        links.unsubscribe(UUID(opened["case"]["id"]), merchants[0], "customer-815", clock.now())
        .removeprefix(BASE)
        .replace("/unsubscribe/", UPDATE_PATH),
    ]

    answers = [await client.get(path) for path in wrong] + [await client.post(path) for path in wrong]

    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1
    assert "Café" not in answers[0].text
    assert (await client.get(good)).status_code == 200


async def test_opening_is_told_once_a_day_however_many_look(
    client: AsyncClient, report: Report, link: Any, service: Service, clock: Any
) -> None:
    """Mail scanners and reloads don't fill the audit trail; a HEAD is nobody who reads."""
    opened = await report()
    path = link(opened)

    await client.head(path)
    assert "update_page.opened" not in await kinds(service, opened)
    await asyncio.gather(*(client.get(path) for _ in range(5)))
    assert (await kinds(service, opened)).count("update_page.opened") == 1
    clock.advance(timedelta(days=1) + HOUR)
    await client.get(path)
    assert (await kinds(service, opened)).count("update_page.opened") == 2


@pytest.mark.parametrize(
    ("customer", "status", "said"),
    [
        ("cus_anna~no_page", 200, "can't be settled online at the moment. Please contact Café & Söhne"),
        ("cus_anna~lose_before*9", 503, "Our payment provider can't be reached right now"),
    ],
)
async def test_where_the_gateway_has_no_page_the_reader_is_told_what_to_do(
    client: AsyncClient, report: Report, link: Any, customer: str, status: int, said: str
) -> None:
    """None at all: the merchant helps. None just now: nothing was charged, and the button stays."""
    card = {**examples.PAYMENT["credentials"][0], "gateway_customer": customer}
    path = link(await report(credentials=[card]))

    answer = await client.post(path)

    assert answer.status_code == status
    assert said in words(answer)
    assert ("<form" in answer.text) is (status == 503)
    assert ("retry-after" in answer.headers) is (status == 503)


async def test_another_site_cannot_press_the_button(client: AsyncClient, report: Report, link: Any) -> None:
    """Who knows a link may open it; a page elsewhere that has got hold of one sends nobody to pay."""
    path = link(await report())

    assert (await client.post(path, headers={"Sec-Fetch-Site": "cross-site"})).status_code == 403
    assert (await client.post(path, headers={"Sec-Fetch-Site": "same-origin"})).status_code == 303


async def test_the_customers_own_language_goes_before_the_browsers(
    client: AsyncClient, report: Report, link: Any, service: Service, merchants: tuple[str, str]
) -> None:
    """What is known of the customer, then the browser, then the brand; a language without words is passed over."""
    opened = await report()
    own = (
        "INSERT INTO customer (merchant_id, ref, locale, timezone, created_at, changed_at)"
        " VALUES ($1, 'customer-815', $2, 'Pacific/Kiritimati', now(), now())"
        " ON CONFLICT (merchant_id, ref) DO UPDATE SET locale = excluded.locale, timezone = excluded.timezone"
    )
    async with service.database.connection() as connection:
        await connection.execute(own, merchants[0], "fr-CH")
    french = await client.get(link(opened), headers={"Accept-Language": "de"})
    async with service.database.connection() as connection:
        await connection.execute(own, merchants[0], "nl")
    spanish = await client.get(link(opened), headers={"Accept-Language": "da, es;q=0.8, *;q=0.1"})

    assert 'lang="fr-CH"' in french.text
    assert "restent à régler" in words(french)
    assert 'lang="es"' in spanish.text


async def test_one_link_is_answered_only_so_often(client: AsyncClient, report: Report, link: Any) -> None:
    """Each press may ask the gateway for a page, and gateways limit that; others' links go on."""
    path, another = link(await report()), link(await report())

    pressed = [(await client.post(path)).status_code for _ in range(GOING_ON.burst + 1)]
    opened = [await client.get(path) for _ in range(OPENINGS.burst + 1)]

    assert pressed == [303] * GOING_ON.burst + [429]
    assert [answer.status_code for answer in opened] == [200] * OPENINGS.burst + [429]
    assert int(opened[-1].headers["retry-after"]) > 0
    assert (await client.get(another)).status_code == 200


async def test_no_log_line_holds_a_link(
    client: AsyncClient, report: Report, link: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever reads the logs can't open a customer's page."""
    path = link(await report())

    await client.get(path)
    await client.post(path)

    told = capsys.readouterr()
    assert path.removeprefix(UPDATE_PATH) not in told.out + told.err


async def test_a_database_out_of_reach_is_told_in_words(client: AsyncClient, service: Service, link: Any) -> None:
    """A customer never meets a page for programs."""
    path = link({"case": {"id": str(uuid4())}})
    await service.close()

    answer = await client.get(path, headers={"Accept-Language": "fr"})
    await service.open()

    assert answer.status_code == 503
    assert answer.headers["content-type"].startswith("text/html; charset=utf-8")
    assert "Rien n’a été débité" in words(answer)


async def test_a_notices_link_opens_the_page_of_its_charge(
    client: AsyncClient, api: Any, service: Service, merchants: tuple[str, str]
) -> None:
    """What will be collected, when, and by which card; nothing can be paid there, and over, it shows no dates."""
    told = (await api.post("/upcoming-charges", billing.CHARGE)).json()["charge"]
    links, now = service.context.messaging.links, service.context.clock.now()
    customer = billing.CHARGE["customer"]["ref"]
    charge_id, until = UUID(told["id"]), now + timedelta(days=30)
    path = links.charge(charge_id, merchants[0], customer, until).removeprefix(BASE)
    forged = links.charge(charge_id, merchants[1], customer, until).removeprefix(BASE)

    shown = await client.get(path, headers={"Accept-Language": "en"})
    paid = await client.post(path)
    wrong = await client.get(forged)
    await api.post(f"/upcoming-charges/{told['id']}/call-off", billing.CALL_OFF)
    over = await client.get(path)

    assert shown.status_code == 200
    said = words(shown)
    assert "99,00" in said
    assert "Fällig am 15. Januar 2027" in said
    assert "Karte gültig bis 31. Dezember 2026" in said
    assert "<form" not in shown.text
    assert "Ihre Karte gilt bis 31. Dezember 2026: Sie läuft vor dieser Zahlung ab." in said
    assert "brauchen Sie nichts zu tun" not in said  # it isn't so
    assert "help@cafe.example" in said
    assert (paid.status_code, words(paid), wrong.status_code) == (200, said, 404)
    assert over.status_code == 200
    assert "wurde abgesagt" in words(over)
    assert "99,00" not in words(over)


ChargeOf = Callable[..., Awaitable[tuple[dict[str, Any], str]]]


@pytest.fixture
def announced(api: Any, service: Service, merchants: tuple[str, str]) -> ChargeOf:
    """`announced(days)` tells of a charge; its answer and the path of its page."""

    async def make(days: int = 30, **fields: Any) -> tuple[dict[str, Any], str]:
        told = (await api.post("/upcoming-charges", billing.CHARGE | fields)).json()["charge"]
        until = service.context.clock.now() + timedelta(days=days)
        url = service.context.messaging.links.charge(
            UUID(told["id"]), merchants[0], billing.CHARGE["customer"]["ref"], until
        )
        return told, url.removeprefix(BASE)

    return make


async def test_a_card_that_lasts_is_not_warned_of(client: AsyncClient, announced: ChargeOf) -> None:
    """Who need do nothing is told so."""
    _, path = await announced(expires_on="2030-11")

    said = words(await client.get(path))

    assert "brauchen Sie nichts zu tun" in said
    assert "läuft vor dieser Zahlung ab" not in said


async def test_a_charge_that_was_made_or_is_past_says_so(
    client: AsyncClient, announced: ChargeOf, api: Any, clock: Any
) -> None:
    """Nobody is told to expect what was collected; of what nobody told us, nothing is claimed."""
    told, path = await announced(90)
    clock.advance(timedelta(days=60))
    past = words(await client.get(path))
    await api.post(f"/upcoming-charges/{told['id']}/made")
    made = words(await client.get(path))

    assert "steht nicht mehr bevor" in past
    assert "99,00" not in past
    assert "diese Zahlung ist erfolgt" in made
    assert "99,00" in made


async def test_a_charge_that_failed_leads_to_what_is_owed(
    client: AsyncClient, announced: ChargeOf, report: Report
) -> None:
    """The button of an old mail pays; but only where it is the same customer who owes."""
    customer = billing.CHARGE["customer"]
    _, path = await announced(reference="ours")
    _, other = await announced(reference="another's")
    opened = await report(reference="ours", customer=examples.PAYMENT["customer"] | {"ref": customer["ref"]})
    await report(reference="another's")

    shown, pressed, alien = await client.get(path), await client.post(path), await client.get(other)

    assert "sind noch offen" in words(shown)
    assert pressed.status_code == 303
    assert "noch offen" not in words(alien)
    assert "<form" not in alien.text
    assert opened["case"]["id"] not in shown.text


async def test_a_charge_s_expired_link_tells_nothing(client: AsyncClient, announced: ChargeOf, clock: Any) -> None:
    """As every other link of ours."""
    told, path = await announced(2)
    clock.advance(timedelta(days=2) + HOUR)

    answer = await client.get(path)

    assert answer.status_code == 410
    assert "99,00" not in words(answer)
    assert told["reference"] not in answer.text
