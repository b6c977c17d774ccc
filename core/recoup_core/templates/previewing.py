"""Templates as people look at them before customers do: what there is, and what it says with made-up customers."""

from recoup_core.domain.errors import DomainError
from recoup_core.templates.catalogue import Catalogue, Rendered
from recoup_core.templates.checking import needs_of
from recoup_core.templates.samples import BRAND, SAMPLES, sample
from recoup_core.templates.variables import Brand


class UnknownSample(DomainError):
    """No sample has this name."""

    code = "unknown_sample"

    def __init__(self, name: str) -> None:
        super().__init__(f"no sample is named {name!r}; there are {', '.join(SAMPLES)}")
        self.name = name


def preview(
    catalogue: Catalogue, name: str, *, channel: str, locale: str, with_sample: str, brand: Brand | None = None
) -> Rendered:
    """Return what a template says to a made-up customer; raises `UnknownTemplate` and `UnknownSample`."""
    if with_sample not in SAMPLES:
        raise UnknownSample(with_sample)
    catalogue.locales(name)
    data = sample(with_sample, needs_of(catalogue).get(name, "debt"), brand or BRAND)
    return catalogue.render(name, channel, locale, data)
