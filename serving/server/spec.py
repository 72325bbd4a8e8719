"""What a client asked for, checked and in the engine's terms."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from catp.planlang.nodes import Plan
from catp.planners.protocol import PlanRequest
from catp.serving.engine.request import Slo
from catp.serving.engine.sampling import Sampling

__all__ = ["Constraint", "Message", "PlanSpec", "Spec", "TextSpec"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat. `role` is system, developer, user, assistant or tool."""

    role: str
    content: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Constraint:
    """What the text must be: `form` is a JSON Schema as text, or a regular expression; empty for any JSON object."""

    kind: Literal["json_schema", "json_object", "regex"]
    form: str = ""


@dataclass(frozen=True, slots=True)
class TextSpec:
    """A request to write text.

    Args:
        model: id of the model, or name of an adapter.
        prompt: text, token ids, or messages for the model's chat template.
        seeds: one per choice; with the place of a token each decides that choice's noise. Their number is OpenAI's n.
        sampling: how to draw; `sampling.logprobs` None: no log-probabilities are wanted.
        max_tokens: bound of each choice; None: as much as the context holds.
        stop: texts that end a choice, and are left out of it.
        ignore_eos: do not stop at the end-of-text token.
        constraint: what the text must be; None: anything.
        echo: the first delta of each choice is the prompt's text.
        stream: somebody reads while it is written; otherwise deltas may come in any size.
        tenant, priority, slo, drop_late: as in `catp.serving.engine.request.Request`.
        kind: what length predictions are kept by.
    """

    model: str
    prompt: str | tuple[int, ...] | tuple[Message, ...]
    seeds: tuple[int, ...] = (0,)
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    constraint: Constraint | None = None
    echo: bool = False
    stream: bool = True
    tenant: str = "default"
    priority: int = 0
    slo: Slo = field(default_factory=Slo)
    drop_late: bool = False
    kind: str = "text"


@dataclass(frozen=True, slots=True)
class PlanSpec:
    """A request to write and rate plans; what `PlanWriter.write` takes, and who asks.

    Args:
        model: id of the model, or name of an adapter.
        request: the agent's request; its objective holds alpha, price scale, budget and deadline.
        catalogue: what the registry and its estimates are known by (`PUT /v1/catalogues/{id}`); empty: it came inline.
        samples: plans sampled beside the greedy one.
        beams: width of the beam search, 0 for none.
        shown: plans to rate.
        seed: decides what is sampled.
        stream: `StepDecided` events are wanted.
        tenant, priority, slo, drop_late, kind: as in `TextSpec`.
    """

    model: str
    request: PlanRequest
    catalogue: str = ""
    samples: int = 4
    beams: int = 0
    shown: tuple[Plan, ...] = ()
    seed: int = 0
    stream: bool = True
    tenant: str = "default"
    priority: int = 0
    slo: Slo = field(default_factory=Slo)
    drop_late: bool = False
    kind: str = "plan"


Spec: TypeAlias = TextSpec | PlanSpec
