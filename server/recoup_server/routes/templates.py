"""Templates of messages: which there are, and what they say."""

from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, RawBody
from msgspec import Meta

from recoup_core.flows.operate import NotFound
from recoup_core.templates.catalogue import UnknownTemplate
from recoup_core.templates.previewing import preview
from recoup_core.wiring import Service
from recoup_server.auth import READS, Caller
from recoup_server.openapi import BEARER, LISTS, refusals, takes
from recoup_server.reading import read
from recoup_server.schemas_in import Body, Short
from recoup_server.schemas_out import Out


class TemplateOut(Out, frozen=True, kw_only=True):
    """One template."""

    name: str
    locales: list[str]
    """The languages it is written in."""


class TemplateList(Out, frozen=True, kw_only=True):
    """The templates there are."""

    items: list[TemplateOut]


class TemplatePreviewIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be seen."""

    channel: Short = "email"
    locale: Annotated[str, Meta(pattern=r"^[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?$")] | None = None
    """BCP 47; the brand's, else the installation's, if not given."""
    sample: Short = "ordinary"
    """Which made-up customer: docs/templates.md lists them."""


class TemplatePreviewOut(Out, frozen=True, kw_only=True):
    """What the message says, word for word."""

    template: str
    locale: str
    """The language it came out in, after falling back."""
    subject: str | None
    text: str
    html: str | None


@get(
    "/templates",
    operation_id="listTemplates",
    summary="List the templates of messages",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["messages"],
    sync_to_thread=False,
)
def get_templates(service: NamedDependency[Service], caller: NamedDependency[Caller]) -> TemplateList:
    """Return every template of the installation, with the languages it is written in."""
    del caller
    catalogue = service.context.messaging.templates
    return TemplateList(items=[TemplateOut(name=n, locales=list(catalogue.locales(n))) for n in catalogue.names])


@post(
    "/templates/{template:str}/preview",
    status_code=200,
    operation_id="previewTemplate",
    summary="Show what a template says",
    guards=[READS],
    responses=refusals(400, 401, 403, 404, 413, 422, 503),
    security=BEARER,
    tags=["messages"],
    opt=takes(TemplatePreviewIn, german={"locale": "de", "channel": "email"}),
    sync_to_thread=False,
)
def post_preview(
    template: FromPath[str], body: RawBody, service: NamedDependency[Service], caller: NamedDependency[Caller]
) -> TemplatePreviewOut:
    """Return a message to a made-up customer, with the merchant's own brand; nothing is sent or stored."""
    given = read(body, TemplatePreviewIn)
    messaging = service.context.messaging
    brand = messaging.brand_of(caller.merchant_id)
    locale = given.locale or brand.locale or messaging.locale
    try:
        said = preview(
            messaging.templates, template, channel=given.channel, locale=locale, with_sample=given.sample, brand=brand
        )
    except UnknownTemplate as unknown:
        raise NotFound("template", template) from unknown
    return TemplatePreviewOut(
        template=said.template, locale=said.locale, subject=said.subject, text=said.text, html=said.html
    )


HANDLERS = (get_templates, post_preview)
