"""One augmented example: an input with some of its plans packed behind one prompt, as arrays.

    prompt ── plan 1          every plan sees the prompt and itself, never another plan (a tree attention mask);
           ├─ plan 2          positions count on from the prompt in each
           └─ plan 3

Augmentation, all drawn from the example's own generator: slots shuffled, unused tools left out, names replaced, prices
multiplied (labels recomputed), alpha drawn, a budget, deadline or return told now and then.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from catp.training.caorl.cases import Branch, Case
from catp.training.caorl.config import MethodConfig, PromptConfig
from catp.training.caorl.methods import plans_shown, tells_return, with_own_return
from catp.training.prompt.form import Charge, Narrator, Spelled
from catp.training.prompt.known import KnownStep
from catp.training.prompt.render import Renderer
from catp.training.prompt.view import Objectives, RequestView

__all__ = ["Drawn", "Packed", "as_is", "draw", "pack", "parts_of"]

Ints = NDArray[np.int64]
Floats32 = NDArray[np.float32]

_SYLLABLES = ("ba", "do", "ke", "lu", "mi", "no", "pra", "ri", "so", "ta", "ve", "zu")


@dataclass(frozen=True)
class Drawn:
    """A case as one example shows it: kept tools and plans, factors on prices, names, slots, the objective.

    `kept` are positions of tools in the case's view, `slots` the slot of each of them. `learns_end` is False if outputs
    and `</plan>` are no targets; `charge` is what steps use up of the return, if not their price (`Narrator`).
    """

    case: Case
    kept: tuple[int, ...]
    slots: tuple[int, ...]
    names: tuple[str, ...]
    factors: tuple[float, ...]
    branches: tuple[Branch, ...]
    objectives: Objectives
    learns_end: bool = True
    charge: Charge | None = None


@dataclass(frozen=True)
class Packed:
    """An example as arrays.

    ids, positions, branch (L,): token ids, their positions, which plan they belong to (-1: the prompt).
    at, label, owner (M,): where a plan token is predicted from, its plan-token id, its plan; allowed (M, plan tokens).
    read, reader, share, prior, part (R,): where quality is read, of which plan, the output's share, composed and
    measured score of it.
    score, price, fits (B,): measured score, price over the scale, and whether the plan meets what the prompt demands.
    """

    ids: Ints
    positions: Ints
    branch: Ints
    at: Ints
    label: Ints
    owner: Ints
    allowed: NDArray[np.bool_]
    read: Ints
    reader: Ints
    share: Floats32
    prior: Floats32
    part: Floats32
    score: Floats32
    price: Floats32
    fits: Floats32
    alpha: float

    def __len__(self) -> int:
        return len(self.ids)


def as_is(case: Case, alpha: float, plans: int | None = None) -> Drawn:
    """Return a case without augmentation, at an alpha, with its first `plans` plans."""
    count = len(case.view.tools)
    return Drawn(
        case, tuple(range(count)), tuple(range(count)), tuple(tool.name for tool in case.view.tools), (1.0,) * count,
        case.branches[:plans], Objectives(alpha, case.scale),
    )  # fmt: skip


def draw(case: Case, prompt: PromptConfig, method: MethodConfig, tool_slots: int, random: np.random.Generator) -> Drawn:
    """Draw an example of a case."""
    order = random.permutation(len(case.branches))[: plans_shown(method)]
    branches = tuple(case.branches[int(place)] for place in sorted(order))
    kept = _kept(case, branches, prompt, random)
    slots = random.permutation(tool_slots)[: len(kept)] if prompt.shuffle_slots else np.arange(len(kept))
    names = tuple(case.view.tools[place].name for place in kept)
    if random.random() < prompt.hide_names:
        names = tuple(_made_up(random) for _ in names)
    factors = np.ones(len(kept))
    if random.random() < prompt.jitter_share:
        factors = np.exp2(random.normal(0.0, prompt.price_jitter, len(kept)))
    alpha = float(random.choice(method.alphas)) if random.random() < 0.5 else float(random.random())
    drawn = Drawn(
        case, kept, tuple(int(slot) for slot in slots), names, tuple(factors.tolist()), branches,
        Objectives(alpha, case.scale),
    )  # fmt: skip
    if tells_return(method.name) == "always":
        return with_own_return(drawn, float(_prices(drawn)[0]), _paid(drawn, branches[0]), method.name)
    told = prompt.condition_return if tells_return(method.name) == "sometimes" else 0.0
    return replace(drawn, objectives=_objectives(drawn, prompt, told, random))


def _kept(case: Case, branches: Sequence[Branch], prompt: PromptConfig, random: np.random.Generator) -> tuple[int, ...]:
    used = sorted(frozenset().union(*(branch.tools for branch in branches)))
    others = [place for place in range(len(case.view.tools)) if place not in used]
    room = max(0, min(len(others), prompt.max_tools - len(used)))
    room = round(room * (1 - random.random() * prompt.drop_tools))
    chosen = random.permutation(len(others))[:room]
    return tuple(sorted([*used, *(others[int(place)] for place in chosen)]))


def _made_up(random: np.random.Generator) -> str:
    return "".join(str(part) for part in random.choice(_SYLLABLES, 3))


def _objectives(drawn: Drawn, prompt: PromptConfig, told: float, random: np.random.Generator) -> Objectives:
    """Budgets and deadlines that some plan meets, and, in a share `told`, returns that some plan reached."""
    found = drawn.objectives
    prices = _prices(drawn)
    branch = int(random.integers(len(drawn.branches)))
    if random.random() < prompt.condition_budget:
        found = replace(found, budget=float(prices[branch]) * float(random.uniform(1.0, 2.0)))
    elif random.random() < prompt.condition_budget and drawn.branches[branch].latency_ms > 0:
        found = replace(found, deadline_ms=drawn.branches[branch].latency_ms * float(random.uniform(1.0, 2.0)))
    if random.random() < told:
        utility = found.alpha * drawn.branches[branch].score - (1 - found.alpha) * prices[branch] / found.scale
        found = replace(found, target=float(utility))
    return found


def _prices(drawn: Drawn) -> Floats32:
    """Measured prices of the plans under the drawn factors, nano-USD."""
    factor = dict(zip(drawn.kept, drawn.factors, strict=True))
    found = []
    for branch in drawn.branches:
        extra = [
            (factor.get(step.tool, 1.0) - 1.0) * (paid if paid == paid else step.price or 0.0)
            for step, paid in zip(branch.told.steps, branch.paid, strict=True)
        ]
        found.append(branch.price + sum(extra))
    return np.array(found, dtype=np.float32)


def _paid(drawn: Drawn, branch: Branch) -> list[float]:
    """Measured prices of a plan's steps under the drawn factors, nano-USD; predicted ones where not measured."""
    factor = dict(zip(drawn.kept, drawn.factors, strict=True))
    return [
        factor.get(step.tool, 1.0) * (paid if paid == paid else step.price or 0.0)
        for step, paid in zip(branch.told.steps, branch.paid, strict=True)
    ]


def pack(drawn: Drawn, renderer: Renderer) -> Packed:
    """Spell an example out."""
    vocabulary = renderer.tokens.vocabulary
    tools = tuple(
        replace(tool, price=None if tool.price is None else tool.price * factor)
        for tool, factor in ((drawn.case.view.tools[k], f) for k, f in zip(drawn.kept, drawn.factors, strict=True))
    )
    view = replace(drawn.case.view, tools=tools)
    prompt = renderer.request(view, drawn.slots, drawn.names) + renderer.objective(drawn.objectives, view.reference)
    slots, names = _by_position(drawn, view)
    narrator = Narrator(renderer, drawn.objectives, names, drawn.charge)
    spelled = [
        narrator.spell(branch.told.ids, _steps(branch, drawn), branch.told.outputs, slots) for branch in drawn.branches
    ]
    ends = [_targets(drawn, branch, vocabulary.id("<end>")) for branch in drawn.branches]
    return _arrays(drawn, prompt, spelled, ends, vocabulary.span("t").start, len(vocabulary), slots)


def _targets(drawn: Drawn, branch: Branch, end: int) -> int:
    """How many of a plan's tokens are targets, from the first."""
    ids = branch.told.ids
    return len(ids) if drawn.learns_end else len(ids) - ids[::-1].index(end)


def _by_position(drawn: Drawn, view: RequestView) -> tuple[list[int], list[str]]:
    """Slots and names for every tool of the case; those left out get none that is ever used."""
    count = len(drawn.case.view.tools)
    slots, names = [0] * count, [""] * count
    for place, slot, name in zip(drawn.kept, drawn.slots, drawn.names, strict=True):
        slots[place], names[place] = slot, name
    return slots, names


def _steps(branch: Branch, drawn: Drawn) -> tuple[KnownStep, ...]:
    factor = dict(zip(drawn.kept, drawn.factors, strict=True))
    return tuple(
        step if step.price is None else replace(step, price=step.price * factor.get(step.tool, 1.0))
        for step in branch.told.steps
    )


def _arrays(
    drawn: Drawn, prompt: Sequence[int], spelled: Sequence[Spelled], targets: Sequence[int], first_tool: int,
    plan_tokens: int, slots: Sequence[int],
) -> Packed:  # fmt: skip
    ids, positions, branch_of = list(prompt), list(range(len(prompt))), [-1] * len(prompt)
    at, label, owner, masks = [], [], [], []
    read, reader, share, prior, part = [], [], [], [], []
    weights = drawn.case.weights
    for number, (branch, one) in enumerate(zip(drawn.branches, spelled, strict=True)):
        begin = len(ids)
        ids += one.ids
        positions += range(len(prompt), len(prompt) + len(one.ids))
        branch_of += [number] * len(one.ids)
        triples = zip(one.chosen, branch.told.ids, branch.allowed, strict=True)
        for place, token, bits in islice(triples, targets[number]):
            shown = _shown(bits, first_tool, drawn)
            if shown & (shown - 1):  # a forced token teaches nothing
                at.append(begin + place - 1 if place else len(prompt) - 1)
                label.append(token if token < first_tool else first_tool + slots[token - first_tool])
                owner.append(number)
                masks.append(shown)
        part += parts_of(branch, weights)
        for output, place in zip(branch.told.outputs, one.read, strict=True):
            read.append(begin + place)
            reader.append(number)
            share.append(weights[output.goal])
            prior.append(output.score)
    prices = _prices(drawn)
    return Packed(
        np.array(ids), np.array(positions), np.array(branch_of), np.array(at, dtype=np.int64),
        np.array(label, dtype=np.int64), np.array(owner, dtype=np.int64), _bits(masks, plan_tokens),
        np.array(read, dtype=np.int64), np.array(reader, dtype=np.int64), np.array(share, dtype=np.float32),
        np.array(prior, dtype=np.float32),
        np.array(part, dtype=np.float32), np.array([b.score for b in drawn.branches], dtype=np.float32),
        (prices / drawn.objectives.scale).astype(np.float32), _fits(drawn, prices), drawn.objectives.alpha,
    )  # fmt: skip


def parts_of(branch: Branch, weights: Sequence[float]) -> list[float]:
    """Return the score that each output of a plan is labelled with, in plan order.

    Where only the whole score was measured, outputs get what makes their sum that score: all the same. A plan without
    an optional output has less weight in all, so labelling its outputs with the score itself would call it worse.

    Args:
        branch: the plan.
        weights: the share of each wanted output in the score.
    """
    shares = [weights[output.goal] for output in branch.told.outputs]
    pairs = list(zip(shares, branch.parts, strict=True))
    known = sum(share * part for share, part in pairs if not math.isnan(part))
    unknown = sum(share for share, part in pairs if math.isnan(part))
    return [(branch.score - known) / unknown if math.isnan(part) else part for part in branch.parts]


def _shown(bits: int, first_tool: int, drawn: Drawn) -> int:
    """The mask in slots, without the tools left out."""
    found = bits & ((1 << first_tool) - 1)
    tools = bits >> first_tool
    if tools:
        for place, slot in zip(drawn.kept, drawn.slots, strict=True):
            if tools >> place & 1:
                found |= 1 << (first_tool + slot)
    return found


def _bits(masks: Sequence[int], width: int) -> NDArray[np.bool_]:
    size = (width + 7) // 8
    raw = np.frombuffer(b"".join(mask.to_bytes(size, "little") for mask in masks), dtype=np.uint8)
    return np.unpackbits(raw.reshape(len(masks), size), axis=1, bitorder="little")[:, :width].astype(np.bool_)


def _fits(drawn: Drawn, prices: Floats32) -> Floats32:
    budget, deadline = drawn.objectives.budget, drawn.objectives.deadline_ms
    fits = [
        (budget is None or price <= budget * (1 + 1e-6)) and (deadline is None or not branch.latency_ms > deadline)
        for branch, price in zip(drawn.branches, prices, strict=True)
    ]
    return np.array(fits, dtype=np.float32)
