"""A training example as text: every token of prompt and plan, which are forced, and what is learned at each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catp.planlang.vocabulary import Vocabulary
from catp.training.caorl.batch import batch_of
from catp.training.caorl.cases import CaseMaker
from catp.training.caorl.config import MethodConfig
from catp.training.caorl.examples import Packed, pack
from catp.training.caorl.losses import advantage_weights, utilities
from catp.training.caorl.rating import drawn_as_is
from catp.training.caorl.source_bench import bench_requests
from catp.training.data.trajectory import Trajectory
from catp.training.policy.llama import load_tokenizer
from catp.training.policy.manifest import read_manifest
from catp.training.prompt.render import Renderer
from catp.training.prompt.tokens import MARKS, PolicyTokens

__all__ = ["PlanToken", "Shown", "example_of"]

_PARTS = {mark: mark.removeprefix("<catp:").removesuffix(">") for mark in MARKS if mark.startswith("<catp:")}


@dataclass(frozen=True)
class PlanToken:
    """One token of a plan. `choices` is how many tokens the mask allowed where it is a target, None where it is forced.

    At tokens where quality is read, `score` is the measured score, and `share` its part in the plan's score.
    """

    token: str
    id: int
    choices: int | None = None
    score: float | None = None
    share: float | None = None


@dataclass(frozen=True)
class Shown:
    """An example without augmentation: the prompt by part, one plan, and what it weighs among those of its input.

    `weight` is the advantage weight of the plan at `alpha` under `method`; `plans` how many plans the input has.
    """

    prompt: tuple[tuple[str, tuple[str, ...]], ...]
    plan: tuple[PlanToken, ...]
    alpha: float
    utility: float
    weight: float
    plans: int


def example_of(record: Trajectory, siblings: Sequence[Trajectory], folder: Path, alpha: float = 0.8) -> Shown:
    """Return the example that holds a record's plan, in the tokens of a policy.

    Args:
        record: of a shipped benchmark.
        siblings: all records of the same input, in the order of the file; `record` is among them.
        folder: of the policy.
        alpha: weight of quality in the objective.

    Raises:
        ValueError: the record has no task to ask for, or its plan cannot be spelled.
    """
    manifest = read_manifest(folder)
    vocabulary = Vocabulary(manifest.tokens.tool_slots)
    tokens = PolicyTokens(load_tokenizer(folder), vocabulary)
    maker = CaseMaker(bench_requests(), vocabulary)
    case = next(maker.cases(siblings), None)
    place = None if case is None else _place([branch.id for branch in case.branches], record.trajectory_id)
    if case is None or place is None:
        why = ", ".join(maker.left_out) or "another record has the same plan"
        raise ValueError(f"{record.trajectory_id}: no example is made of it: {why}")
    packed = pack(drawn_as_is(case, alpha, len(case.branches)), Renderer(tokens, manifest.prompt.style))
    utility, weight = _weights(packed, tokens.pad, manifest.config.method)
    ids = packed.ids[packed.branch == -1].tolist()
    return Shown(
        tuple(_parts(tokens.spellings(ids))), tuple(_plan(packed, place, tokens)), alpha, utility[place], weight[place],
        len(case.branches),
    )  # fmt: skip


def _place(ids: Sequence[str], wanted: str) -> int | None:
    return ids.index(wanted) if wanted in ids else None


def _parts(spelled: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The prompt cut at its marks; what stands before the first one is the beginning of text."""
    name, tokens = "begin", list[str]()
    for token in spelled:
        if token in _PARTS:
            if tokens:
                yield name, tuple(tokens)
            name, tokens = _PARTS[token], []
        tokens.append(token)
    yield name, tuple(tokens)


def _plan(packed: Packed, place: int, tokens: PolicyTokens) -> Iterator[PlanToken]:
    own = np.flatnonzero(packed.branch == place)
    begin, last = int(own[0]), int((packed.branch == -1).sum()) - 1
    # the first token of every plan is predicted at the prompt's end
    targets = {
        begin if at == last else int(at) + 1: int(packed.allowed[n].sum())
        for n, at in enumerate(packed.at)
        if packed.owner[n] == place
    }
    reads = {int(at): n for n, at in enumerate(packed.read) if packed.reader[n] == place}
    for at, spelling in zip(own.tolist(), tokens.spellings(packed.ids[own].tolist()), strict=True):
        read = reads.get(at)
        yield PlanToken(
            spelling, int(packed.ids[at]), targets.get(at),
            None if read is None else float(packed.part[read]), None if read is None else float(packed.share[read]),
        )  # fmt: skip


def _weights(packed: Packed, pad: int, method: MethodConfig) -> tuple[list[float], list[float]]:
    batch: Any = batch_of([packed], pad)
    utility = utilities(batch, batch["alpha"][batch["of"]])
    return utility.tolist(), advantage_weights(utility, batch, method).tolist()
