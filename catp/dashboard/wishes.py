"""Bodies of requests that plan, price and start runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from catp.dashboard.forms import nano_of
from catp.dashboard.given import Given
from catp.dashboard.problems import Problem
from catp.planlang.money import Money
from catp.planlang.types import parse_type

__all__ = ["Asked", "PreviewWish", "Replay", "Resume", "RunWish", "WhatIf", "Wish", "amount"]

Seconds = Annotated[float, Field(gt=0, le=30 * 86400)]
Text = Annotated[str, Field(max_length=200_000)]


@dataclass(frozen=True)
class Asked:
    """What somebody wants planned: a task in words or the text of a plan (then `task` is its title), and the limits.

    `budget` and `cap` are nano-USD; None takes what the agent has. `cap` is the most the run may spend, if that is
    less than what it is planned for.
    """

    task: str
    plan: str | None
    inputs: Mapping[str, Given]
    alpha: float | None = None
    budget: Money | None = None
    deadline_s: float | None = None
    policy: str | None = None
    wanted: Mapping[str, str] | None = None
    cap: Money | None = None
    preview: str | None = None

    @property
    def limits(self) -> dict[str, Any]:
        """The options of `Agent.plan` and its like."""
        return {"alpha": self.alpha, "budget": self.budget, "deadline_s": self.deadline_s}


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Wish(_Form):
    """A task in words, or the text of a plan (then `task` is its title), its inputs and limits.

    `wanted` are the results and their types (`{"language": "Language"}`); without it the task is read.
    """

    task: Annotated[str, Field(max_length=20_000)] = ""
    plan: Text | None = None
    inputs: dict[str, Given] = Field(default_factory=dict)
    alpha: float | None = Field(None, ge=0, le=1)
    budget: str | None = None
    deadline_s: Seconds | None = None
    policy: str | None = None
    wanted: dict[str, str] | None = None

    def asked(self, **more: Any) -> Asked:
        """Return what is asked; raise a `Problem` that names the field if it makes no sense."""
        if self.plan is None and not self.task.strip():
            raise Problem(422, "query", "task: say what is to be done, or give a `plan`")
        for name, type_ in (self.wanted or {}).items():
            try:
                parse_type(type_)
            except ValueError as error:
                raise Problem(422, "query", f"wanted.{name[:60]}: {error}") from None
        budget = amount("budget", self.budget)
        limits = (self.alpha, budget, self.deadline_s)
        return Asked(self.task, self.plan, self.inputs, *limits, self.policy, self.wanted, **more)


class PreviewWish(Wish):
    """What to plan."""

    candidates: int = Field(5, ge=1, le=20)


class RunWish(Wish):
    """What to run. `preview` is the preview that `plan` was chosen from; `cap` the most the run may spend."""

    cap: str | None = None
    preview: str | None = None


class WhatIf(_Form):
    """One of `run`, `plan_hash` and `plan`, and what to change in it; `preview` tells of the inputs and limits."""

    run: str | None = None
    plan_hash: str | None = None
    plan: Text | None = None
    preview: str | None = None
    swap: dict[str, str] = Field(default_factory=dict)
    drop: list[str] = Field(default_factory=list)
    budget: str | None = None
    deadline_s: Seconds | None = None


class Replay(_Form):
    """What to do again: from a step on, with other tools, by step; without either, what has no value."""

    from_node: str | None = None
    set: dict[str, str] = Field(default_factory=dict)
    budget: str | None = None
    deadline_s: Seconds | None = None


class Resume(_Form):
    """How to go on; `in_flight` says by step what became of calls that may have acted."""

    in_flight: dict[str, Literal["again", "done", "failed"]] | None = None
    retry_failed: bool = False
    budget: str | None = None
    deadline_s: Seconds | None = None


def amount(name: str, text: str | None) -> Money | None:
    """Return an amount of a body in nano-USD; raise a 422 `Problem` unless it is more than nothing."""
    nano = nano_of(name, None if text is None else text.strip().removeprefix("$"))
    if nano is not None and nano <= 0:
        raise Problem(422, "query", f"{name} must be more than $0; leave it out for no limit")
    return None if nano is None else Money(nano)
