"""Pages as they leave: rendered without a script or anything from elsewhere but the brand's logo, and headed so."""

from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Response
from markupsafe import Markup

from recoup_core.templates.colours import edge_of, text_on
from recoup_core.templates.variables import Brand
from recoup_server.pages.languages import Tongue

HTML: Final = "text/html"
LATER_S: Final = 30
"""What a visitor's program is asked to wait where a page answers 429 or 503."""

_FOLDER: Final = Path(__file__).parent
_LOADER: Final = FileSystemLoader(_FOLDER / "templates")
_ENVIRONMENT: Final = Environment(loader=_LOADER, autoescape=True, undefined=StrictUndefined, auto_reload=False)
_STYLE: Final = Environment(autoescape=False, undefined=StrictUndefined).from_string(  # noqa: S701 # our own colours
    (_FOLDER / "style.css").read_text("utf-8")
)
_PLAIN: Final = Brand(merchant="", name="")
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow, noarchive",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def page(
    template: str,
    speech: Tongue,
    brand: Brand | None,
    status: int = HTTPStatus.OK,
    *,
    leads_to: str = "",
    **values: Any,
) -> Response[str]:
    """Return a rendered page; `brand` None: nobody's, for who can't show whose customer they are.

    `leads_to`: where its form may lead besides here, as a list of CSP sources.
    """
    style = style_of((brand or _PLAIN).colour)
    body = _ENVIRONMENT.get_template(template).render(
        lang=speech.tag,
        words=speech.words,
        brand=brand,
        style=Markup(style),  # noqa: S704 # our own
        **values,
    )
    later = {"Retry-After": str(LATER_S)} if status in (429, 503) else {}
    headers = {"Content-Security-Policy": policy(style, brand, leads_to), "Content-Language": speech.tag}
    return Response(body, status_code=status, media_type=HTML, headers={**_HEADERS, **headers, **later})


@lru_cache(maxsize=256)
def style_of(colour: str) -> str:
    """Return the style sheet in a brand's colour; words on it are black or white, whichever can be read."""
    return _STYLE.render(brand=colour, on_brand=text_on(colour), edge=edge_of(colour))


def policy(style: str, brand: Brand | None, leads_to: str = "") -> str:
    """Return the content security policy: this style sheet, the brand's logo, our own form, and nothing else."""
    logo = urlsplit(brand.logo_url) if brand is not None and brand.logo_url else None
    parts: Mapping[str, str] = {
        "default-src": "'none'",
        "style-src": f"'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'",
        "img-src": f"{logo.scheme}://{logo.netloc}" if logo is not None else "'none'",
        "form-action": f"'self' {leads_to}".strip(),
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in parts.items())
