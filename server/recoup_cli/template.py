"""`recoup template`: what messages to customers say, looked at and checked before anybody gets one."""

from pathlib import Path

import click
import msgspec

from recoup_cli.check_output import Format, told, write
from recoup_cli.checking import Checked
from recoup_cli.refusals import FAILED, Refused
from recoup_core.settings import Settings, load_settings
from recoup_core.templates.catalogue import Catalogue
from recoup_core.templates.checking import check_folder, load_templates
from recoup_core.templates.previewing import preview as put_into_words
from recoup_core.templates.samples import SAMPLES
from recoup_core.templates.variables import Brand
from recoup_core.wiring import shipped_templates


@click.group()
def template() -> None:
    """Look at the templates of messages to customers, and check them."""


@template.command("list", epilog="Example: recoup template list")
def list_templates() -> None:
    """List the templates that messages can be made of, each with its languages; an own folder counts."""
    catalogue = _catalogue(load_settings())
    for name in catalogue.names:
        click.echo(f"{name:24}{' '.join(catalogue.locales(name))}")


@template.command(
    epilog="""\b
Examples:
  recoup template preview payment_failed --locale de
  recoup template preview final_notice --sample long --html final_notice.html
  recoup template preview reminder --channel sms --locale fr
"""
)
@click.argument("name")
@click.option("--locale", metavar="TAG", help="Language (`de`, `de-AT`); default: the brand's, else the settings'.")
@click.option("--channel", default="email", show_default=True, help="email, sms, or any other that carries text.")
@click.option("--merchant", default="default", show_default=True, help="Whose brand it carries.")
@click.option(
    "--sample", "chosen", type=click.Choice(list(SAMPLES)), default="ordinary", show_default=True, help="Made-up data."
)
@click.option("--html", "page", type=click.Path(path_type=Path, dir_okay=False), help="Write the HTML part to a file.")
def preview(name: str, locale: str | None, channel: str, merchant: str, chosen: str, page: Path | None) -> None:
    """Show what a template says, with made-up data and the brand of the settings; nothing is sent."""
    settings = load_settings()
    catalogue = _catalogue(settings)
    brands = {entry.merchant: msgspec.convert(entry, Brand, from_attributes=True) for entry in settings.brands}
    brand = brands.get(merchant)
    tag = locale or (brand and brand.locale) or settings.messages.locale
    said = put_into_words(catalogue, name, channel=channel, locale=tag, with_sample=chosen, brand=brand)
    if said.subject is not None:
        click.echo(f"Subject: {said.subject}\n")
    click.echo(said.text)
    if page is None:
        return
    if said.html is None:
        raise Refused(f"{channel} has no HTML part", "leave --html out, or take --channel email")
    try:
        page.write_text(said.html, encoding="utf-8")
    except OSError as error:
        raise Refused(f"{page} can't be written: {error.strerror}") from error
    click.echo(f"\nwrote {page}", err=True)


@template.command(epilog="Example: recoup template check my-templates")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--format", "form", type=click.Choice([form.value for form in Format]), default="text", show_default=True)
@click.option("--strict", is_flag=True, help="Warnings fail the check, too.")
def check(folder: Path, form: str, strict: bool) -> int:
    """Check a folder of templates as it stands over those that come with Recoup; every problem with its place.

    Exits with 1 when there is an error, with --strict also when there is a warning.
    """
    found = check_folder(folder, shipped_templates())
    sources = {file.shown: file.text for file in found.files.values()}
    checked = Checked(policies=(), problems=found.problems, sources=sources)
    if found.problems or form != Format.TEXT.value:
        write(told(checked, Format(form)))
    else:
        click.echo(f"ok  {folder}  {len(found.files)} files")
    return FAILED if checked.errors or (strict and checked.warnings) else 0


def _catalogue(settings: Settings) -> Catalogue:
    return load_templates(shipped_templates(), settings.messages.dir, settings.messages.locale)
