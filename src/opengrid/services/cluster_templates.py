"""Files from which Ray makes a cluster on a cloud, for the instance types that this server knows."""

from __future__ import annotations

from dataclasses import dataclass

from opengrid.engines.ray.template import template_of
from opengrid.planning.catalogue import Catalogue
from opengrid.services.documents.document import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedTemplate:
    """What `grid clusters template` asks for."""

    provider: str
    types: dict[str, int]  #: instance types, with the most machines of each
    region: str
    image: str | None = None  #: that machines boot from, as the provider names it


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterTemplateDocument(Document):
    """A cluster file."""

    provider: str
    text: str
    types: dict[str, int]  #: as `grid clusters add --types` wants them


class ClusterTemplates:
    """Makes cluster files of the catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def template(self, wanted: WantedTemplate) -> ClusterTemplateDocument:
        """Return the file; a UserError says which type the provider does not sell."""
        made = template_of(
            wanted.types, self._catalogue, provider=wanted.provider, region=wanted.region, image=wanted.image
        )
        return ClusterTemplateDocument(provider=wanted.provider, text=made.text, types=dict(made.types))
