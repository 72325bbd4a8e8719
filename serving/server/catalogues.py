"""Catalogues that tenants registered: tools, and estimates of their calls, by an id of the tenant's own."""

import re
from collections import OrderedDict
from dataclasses import dataclass

from pydantic import Field

from catp.planlang.registry_view import RegistryView
from catp.planners.wire_estimates import EstimateForm, TableEstimator
from catp.planners.wire_tools import CatalogueForm
from catp.serving.server.problems import HttpProblem

__all__ = ["Catalogue", "CatalogueBody", "Catalogues"]

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class CatalogueBody(CatalogueForm):
    """`PUT /v1/catalogues/{id}`: a catalogue, and estimates that requests need not repeat."""

    estimates: list[EstimateForm] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A registered catalogue; its digest changes with its tools."""

    view: RegistryView
    estimator: TableEstimator


class Catalogues:
    """Kept in memory, a bounded number for each tenant: the one used longest ago goes first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[str, OrderedDict[str, Catalogue]] = {}

    def put(self, tenant: str, id: str, body: CatalogueBody) -> Catalogue:
        """Keep a catalogue; raise `HttpProblem` 400 for one that makes no sense."""
        if not _ID.fullmatch(id):
            message = "an id has 1 to 128 letters, digits and . _ : -"
            raise HttpProblem(400, "bad_request", message, param="id")
        try:
            made = Catalogue(body.view(), TableEstimator([form.read() for form in body.estimates]))
        except ValueError as error:
            raise HttpProblem(400, "bad_catalogue", str(error)) from None
        kept = self._kept.setdefault(tenant, OrderedDict())
        kept[id] = made
        kept.move_to_end(id)
        while len(kept) > self._most:
            kept.popitem(last=False)
        return made

    def get(self, tenant: str, id: str) -> Catalogue:
        """Return a catalogue; raise `HttpProblem` 404 if the tenant has none of that id (any more)."""
        kept = self._kept.get(tenant, OrderedDict())
        if id not in kept:
            message = f"there is no catalogue {id!r} (any more); send it with PUT /v1/catalogues/{id}, or inline"
            raise HttpProblem(404, "unknown_catalogue", message, param="catalogue")
        kept.move_to_end(id)
        return kept[id]

    def ids(self, tenant: str) -> list[str]:
        """Return the tenant's ids, the one used longest ago first."""
        return list(self._kept.get(tenant, ()))
