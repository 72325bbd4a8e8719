"""Answers to requests for plans: steps as they are decided, then the draft."""

import time
from collections.abc import Iterable
from typing import Any

from pydantic import Field

from catp.planlang.errors import PlanError
from catp.planlang.jsonform import from_json, to_json
from catp.planlang.nodes import Plan
from catp.planners.wire import RequestForm, draft_form
from catp.planners.wire_tools import CatalogueForm
from catp.serving.metering.prices import DevicePrice
from catp.serving.server.catalogues import Catalogues
from catp.serving.server.events import Event, Finished, StepDecided
from catp.serving.server.forms import Extras, read_form
from catp.serving.server.options import ServerOptions
from catp.serving.server.problems import HttpProblem
from catp.serving.server.read import priority_of, slo_of
from catp.serving.server.spec import PlanSpec
from catp.serving.server.sse import event_data
from catp.serving.server.tenants import Tenant
from catp.serving.server.usage import usage_form

__all__ = ["PlanAnswer", "PlanForm", "plan_spec"]


class PlanForm(RequestForm):
    """`POST /v1/plans`: a request to plan (`catp.planners.wire`), how to write, and who asks."""

    model: str = ""
    samples: int = Field(default=4, ge=0)
    beams: int = Field(default=0, ge=0)
    shown: list[dict[str, Any]] = Field(default_factory=list, max_length=64)
    seed: int = Field(default=0, ge=0)
    stream: bool = False
    catp: Extras = Field(default_factory=Extras)


def plan_spec(data: object, tenant: Tenant, catalogues: Catalogues, options: ServerOptions) -> PlanSpec:
    """Return what is asked.

    Raises:
        HttpProblem: 400 or 404; the message names the place.
    """
    form, _ = read_form(PlanForm, data)
    for name, count in (("samples", form.samples), ("beams", form.beams)):
        if count > options.max_choices:
            raise HttpProblem(400, "bad_request", f"`{name}` may be at most {options.max_choices} here", param=name)
    try:
        if isinstance(form.catalogue, CatalogueForm):
            id_, request = "", form.read(form.catalogue.view())
        else:
            id_ = form.catalogue
            kept = catalogues.get(tenant.name, id_)
            request = form.read(kept.view, kept.estimator)
    except ValueError as error:
        raise HttpProblem(400, "bad_request", str(error)) from None
    return PlanSpec(
        form.model, request, id_, form.samples, form.beams, tuple(_plan(n, one) for n, one in enumerate(form.shown)),
        form.seed, form.stream, tenant.name, priority_of(form.catp, tenant), slo_of(form.catp, options),
        form.catp.drop_late, form.catp.kind or "plan",
    )  # fmt: skip


def _plan(number: int, form: dict[str, Any]) -> Plan:
    try:
        return from_json(form)
    except PlanError as error:
        raise HttpProblem(400, "bad_plan", f"shown.{number}: {error}", param=f"shown.{number}") from None


class PlanAnswer:
    """One answer.

    Args:
        id: of the answer.
        model: as it was asked for.
        price: of a device second.
    """

    def __init__(self, id: str, model: str, price: DevicePrice) -> None:
        self.id, self.model, self.created, self._price = f"plan-{id}", model, int(time.time()), price
        self._end: Finished | None = None

    def take(self, number: int, event: Event) -> Iterable[bytes]:
        """Take an event and return what is streamed of it."""
        if isinstance(event, StepDecided):
            step = to_json(Plan(steps=(event.step,)))["steps"][0]
            return [event_data({"id": self.id, "index": event.index, "number": event.number, "step": step}, "step")]
        if isinstance(event, Finished):
            self._end = event
        return []

    def closing(self) -> Iterable[bytes]:
        """Return the draft as an event."""
        try:
            return [event_data(self.body(), "draft")]
        except HttpProblem as problem:
            return [event_data(problem.body(), "error")]

    def body(self) -> dict[str, Any]:
        """Return the whole answer."""
        if self._end is None or self._end.value is None:
            raise HttpProblem(500, "request_failed", "the engine ended the request without a draft")
        return {
            "id": self.id,
            "object": "plan.draft",
            "created": self.created,
            "model": self.model,
            **draft_form(self._end.value),
            "usage": usage_form([self._end.usage], self._price),
        }
