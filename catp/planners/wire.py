"""A request to plan, and what a writer answers, as JSON values and back: what goes over the wire to `/v1/plans`.

    {"task", "inputs": [{"name", "type", "size"?: {"units", "count"}, "condition"?}],
     "wanted": [{"name", "type", "optional"?, "capability"?, "source"?, "arguments"?, "through"?}],
     "objective": {"alpha"?, "budget_usd"?, "deadline_ms"?, "price_scale_usd"?},
     "catalogue": "id" or a `catp.catalogue/1` (`catp.planners.wire_tools`),
     "estimates": [{"tool", "args": {name: facts}, "estimate": {...}}]}

Money is a decimal string, unknown is null. Estimates are a table (`catp.planners.wire_estimates`).
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from catp.planlang.jsonform import from_json, to_json
from catp.planlang.money import Money, format_usd, parse_usd
from catp.planlang.registry_view import RegistryView
from catp.planlang.types import parse_type
from catp.planners.protocol import Objective, PlanRequest, Wanted
from catp.planners.wire_estimates import EstimateForm, FactsForm, TableEstimator, estimates_form, facts_form
from catp.planners.wire_tools import CatalogueForm, Form, catalogue_form
from catp.planners.writer import Draft, Rating, Usage, Written

__all__ = ["RequestForm", "draft_form", "read_draft", "request_form"]


class InputForm(FactsForm):
    """One input: its name and what is known of it."""

    name: str


class WantedForm(Form):
    """One wanted result."""

    name: str
    type: str
    optional: bool = False
    capability: list[str] = Field(default_factory=list)
    source: str = ""
    arguments: dict[str, str | int | float | bool] = Field(default_factory=dict)
    through: list[list[str]] = Field(default_factory=list)


class ObjectiveForm(Form):
    """What to optimise."""

    alpha: float = 0.8
    budget_usd: str | None = None
    deadline_ms: float | None = None
    price_scale_usd: str | None = None


class RequestForm(Form):
    """A `PlanRequest`; its catalogue may be named instead of sent."""

    task: str = ""
    inputs: list[InputForm] = Field(default_factory=list)
    wanted: list[WantedForm] = Field(min_length=1)
    objective: ObjectiveForm = Field(default_factory=ObjectiveForm)
    catalogue: str | CatalogueForm
    estimates: list[EstimateForm] = Field(default_factory=list)

    def read(self, registry: RegistryView, known: TableEstimator | None = None) -> PlanRequest:
        """Return the request, for the registry that `catalogue` means.

        Args:
            registry: the tools.
            known: estimates that are kept with a named catalogue; those of the request come before them.

        Raises:
            ValueError: something makes no sense; the message names it.
        """
        if len({form.name for form in self.inputs}) != len(self.inputs):
            raise ValueError("inputs: two have the same name")
        goal = self.objective
        objective = Objective(
            goal.alpha, _money(goal.budget_usd, "budget_usd"), goal.deadline_ms,
            _money(goal.price_scale_usd, "price_scale_usd"),
        )  # fmt: skip
        return PlanRequest(
            self.task,
            {form.name: form.facts() for form in self.inputs},
            tuple(_wanted(form) for form in self.wanted),
            objective,
            registry,
            TableEstimator([form.read() for form in self.estimates], known),
        )


def request_form(request: PlanRequest, catalogue: str | None = None) -> dict[str, Any]:
    """Return a request as JSON values.

    Args:
        request: the request; its estimator is asked for a table of estimates.
        catalogue: id that the server knows the catalogue by; None: it is sent.
    """
    goal = request.objective
    return {
        "task": request.task,
        "inputs": [{"name": name, **facts_form(facts)} for name, facts in request.inputs.items()],
        "wanted": [
            {
                "name": want.name, "type": str(want.type), "optional": want.optional,
                "capability": list(want.capability), "source": want.source, "arguments": dict(want.arguments),
                "through": [list(step) for step in want.through],
            }
            for want in request.wanted
        ],
        "objective": {
            "alpha": goal.alpha, "budget_usd": _usd(goal.budget), "deadline_ms": goal.deadline_ms,
            "price_scale_usd": _usd(goal.price_scale),
        },
        "catalogue": catalogue_form(request.registry) if catalogue is None else catalogue,
        "estimates": estimates_form(request),
    }  # fmt: skip


def draft_form(draft: Draft) -> dict[str, Any]:
    """Return plans and ratings of a draft as JSON values; its usage is told elsewhere."""
    return {
        "plans": [
            {"plan": to_json(one.plan), "logprob": one.logprob, "quality": one.rating.quality, "sd": one.rating.sd}
            for one in draft.written
        ],
        "rated": [None if one is None else {"quality": one.quality, "sd": one.sd} for one in draft.rated],
    }


def read_draft(form: Mapping[str, Any], usage: Usage) -> Draft:
    """Return the draft of an answer.

    Raises:
        ValueError: it is none (`PlanError` is one).
    """
    try:
        return Draft(
            tuple(
                Written(from_json(one["plan"]), float(one["logprob"]), Rating(float(one["quality"]), float(one["sd"])))
                for one in form["plans"]
            ),
            tuple(None if one is None else Rating(float(one["quality"]), float(one["sd"])) for one in form["rated"]),
            usage,
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a draft of plans: {error!r}") from error


def _wanted(form: WantedForm) -> Wanted:
    return Wanted(
        form.name, parse_type(form.type), form.optional, tuple(form.capability), form.source,
        tuple(form.arguments.items()), tuple(tuple(step) for step in form.through),
    )  # fmt: skip


def _money(text: str | None, name: str) -> Money | None:
    try:
        return None if text is None else parse_usd(text)
    except ValueError as error:
        raise ValueError(f"objective.{name}: {error}") from None


def _usd(amount: Money | None) -> str | None:
    return None if amount is None else format_usd(amount)
