"""The policy in this process: a `PlanWriter` on plain transformers, with its own decoding loop and one KV cache.

    request ── tools that fit ── prompt + plans shown ──┐
                                                        ├── one forward pass a step ── plans, log pi, ratings
    greedy, samples (a generator each), beams ──────────┘      (training.policy.decode)

Prompts and plans are spelled as in training (`catp.training.prompt`), with one thing that is not in every request: the
price that weighs as much as quality 1. It is the objective's `price_scale`; else three times the composed price of the
cheapest plan shown, a first guess at the price of a plan that is about as good as any; else the median price of a call.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from catp.planlang.errors import PlanError
from catp.planlang.mask.automaton import PlanMask
from catp.planlang.mask.context import Infeasible
from catp.planlang.nodes import Plan
from catp.planners.protocol import NothingFits, PlanningFailed, PlanRequest
from catp.planners.writer import Draft, PlanWriter, Rating, Unwritable, Usage, Written
from catp.training.caorl.methods import decides_by
from catp.training.policy.beam import Beams
from catp.training.policy.checkpoint import Policy, load
from catp.training.policy.decode import MAX_TOKENS, Place, Places, Search, Walk, run_searches
from catp.training.policy.errors import CheckpointError
from catp.training.policy.models import DEFAULT, default_model, find_model
from catp.training.policy.offer import check_spellable, offered
from catp.training.policy.tree import Run, TokenTree, WriterFailed
from catp.training.prompt.ask import Ask
from catp.training.prompt.form import Narrator
from catp.training.prompt.known import KnownOutput
from catp.training.prompt.render import Renderer
from catp.training.prompt.view import Objectives

__all__ = ["LocalWriter", "ModelUnavailable", "WriterFailed", "load_writer"]

_DEAR = 3.0
"""A guess: what a plan about as good as any costs, over the cheapest one."""


class ModelUnavailable(OSError):
    """The policy cannot be loaded; the message names the fix."""


def load_writer(model: str | None = None, *, device: str = "cpu", threads: int | None = 1) -> PlanWriter:
    """Load a policy; takes seconds.

    Args:
        model: name or folder of a policy, None for the default one.
        device: `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads of a forward pass; None leaves it to torch. Only with one thread is the CPU time of an
            answer its own, and not that of everything the process does meanwhile.

    Raises:
        ModelUnavailable: there is no such policy, it is damaged, or a package or the device is not there.
    """
    try:
        folder = _folder(model)
        policy = load(folder, device=_device(device))
        method = policy.manifest.config.method.name
        if decides_by(method) == "likelihood":
            raise ModelUnavailable(
                f"{folder}: a policy trained with method.name = {method} rates no plans, so they cannot be weighed "
                "against their price; train one with method.name = awr (catp eval measures both)"
            )
        return LocalWriter(policy, name=folder.name, threads=threads)
    except (CheckpointError, ImportError) as error:
        raise ModelUnavailable(str(error)) from error


def _folder(model: str | None) -> Path:
    folder = default_model() if model is None else find_model(model)
    if folder is None:
        raise ModelUnavailable(
            f"there is no policy {DEFAULT!r} to plan with; train it (catp train --config examples/train/tiny.toml), "
            "install one (catp models pull), or name one with --model"
        )
    return folder


def _device(name: str) -> str:
    try:
        import torch
    except ImportError as error:
        raise ModelUnavailable("the policy needs torch and transformers; run: pip install 'catp[policy]'") from error
    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        raise ModelUnavailable(f"there is no device {name!r}; use cpu or cuda") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ModelUnavailable(f"{name} needs a CUDA GPU and a torch built for it; use cpu here")
    return name


class LocalWriter:
    """Writes and rates plans with a policy in this process; implements `PlanWriter`.

    One request at a time: others wait, so that each has the threads it was measured with.

    Args:
        policy: in `eval` mode, adapters merged.
        name: what the record of a run calls it; None: the manifest's name.
        threads: CPU threads of a forward pass; None leaves it to torch.
        temperature: of sampling, above 0.
        length: of `Beams`.
    """

    def __init__(
        self, policy: Policy, *, name: str | None = None, threads: int | None = None, temperature: float = 1.0,
        length: float = 0.0,
    ) -> None:  # fmt: skip
        import torch

        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature!r}")
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads!r}")
        self.policy, self.name = policy, name or policy.manifest.name
        self.kappa, self.margin = policy.manifest.kappa, policy.manifest.margin
        self._model, self._tokens = policy.model, policy.tokens
        self._renderer = Renderer(policy.tokens, policy.manifest.prompt.style)
        self._threads, self._temperature, self._length = threads, temperature, length
        weight = self._model.get_output_embeddings().weight
        self.device: str = weight.device.type
        read = torch.tensor([*policy.tokens.plan_ids, *policy.tokens.quality_ids], device=weight.device)
        self._rows = weight.detach()[read].contiguous()
        self._lock = threading.Lock()

    async def write(
        self, request: PlanRequest, *, samples: int = 8, beams: int = 0, shown: Sequence[Plan] = (), seed: int = 0
    ) -> Draft:
        """Write and rate plans; see `PlanWriter`. Cancelling it ends the work after the step in hand.

        Raises:
            WriterFailed: the model computes NaN.
        """
        stop = threading.Event()
        try:
            return await asyncio.to_thread(self._write, request, samples, beams, tuple(shown), seed, stop.is_set)
        finally:
            stop.set()

    def _write(
        self, request: PlanRequest, samples: int, beams: int, shown: Sequence[Plan], seed: int,
        stopped: Callable[[], bool],
    ) -> Draft:  # fmt: skip
        import torch

        with self._lock:
            before = torch.get_num_threads()
            if self._threads is not None:
                torch.set_num_threads(self._threads)
            try:
                return self._timed(request, samples, beams, shown, seed, stopped)
            finally:
                torch.set_num_threads(before)

    def _timed(
        self, request: PlanRequest, samples: int, beams: int, shown: Sequence[Plan], seed: int,
        stopped: Callable[[], bool],
    ) -> Draft:  # fmt: skip
        import torch

        # with several threads only the whole process knows the time of all of them
        alone = torch.get_num_threads() == 1
        clock = time.perf_counter if self.device != "cpu" else time.thread_time if alone else time.process_time
        began = clock()
        places = self._places(request, shown)
        ends = [_shown(places, plan) for plan in shown]
        searches: list[Search] = [Walk(places.root)]
        searches += [
            Walk(places.root, np.random.default_rng([seed, number]), self._temperature) for number in range(samples)
        ]
        if beams:
            searches.append(Beams(places.root, beams, self._length))
        run_searches(places, searches, stopped)
        written = _written(places, searches)
        rated = tuple(None if end is None else places.rating(*end) for end in ends)
        read = len(places.prompt)
        return Draft(written, rated, Usage(read, len(places.tree) - read, clock() - began))

    def _places(self, request: PlanRequest, shown: Sequence[Plan]) -> Places:
        """Spell the request out.

        Raises:
            Unwritable, NothingFits, PlanningFailed: as `PlanWriter.write`.
        """
        vocabulary = self._tokens.vocabulary
        usual = self.policy.manifest.prompt.max_tools
        request = offered(request, shown, usual, vocabulary.tool_slots)
        check_spellable(request)
        try:
            ask = Ask.of(request, vocabulary)
        except ValueError as error:  # too many inputs or outputs
            raise Unwritable(f"{error}, or plan it by search") from error
        mask = _mask(ask)
        objectives = Objectives.of(request.objective, _scale(ask, shown))
        count = len(request.registry)
        prompt = self._renderer.request(ask.view, range(count))
        prompt += self._renderer.objective(objectives, ask.view.reference)
        room = min(MAX_TOKENS, self._model.config.max_position_embeddings - len(prompt))
        if room < MAX_TOKENS // 4:
            raise Unwritable(
                f"the request takes {len(prompt)} tokens, and the policy reads "
                f"{self._model.config.max_position_embeddings} in all; offer fewer tools"
            )
        narrator = Narrator(self._renderer, objectives, [tool.name for tool in ask.view.tools])
        return Places(
            ask, mask, narrator, self._tokens, TokenTree(self._model, self._rows), prompt, room,
            self.policy.manifest.trust,
        )  # fmt: skip


def _mask(ask: Ask) -> PlanMask:
    try:
        return ask.mask()
    except Infeasible as error:
        if ask.request.objective.budget is not None and "budget" in str(error):
            raise NothingFits(str(error), "budget") from error
        raise PlanningFailed(str(error)) from error
    except ValueError as error:  # nothing is required
        raise Unwritable(str(error)) from error


def _scale(ask: Ask, shown: Sequence[Plan]) -> float:
    """The price that weighs as much as quality 1, nano-USD; see the module."""
    prices = []
    for plan in shown:
        try:
            steps = [step.price for step in ask.composer.steps(plan)]
        except (PlanError, KeyError):
            continue
        known = [price for price in steps if price is not None]
        if known and len(known) == len(steps) and sum(known) > 0:
            prices.append(sum(known))
    return _DEAR * min(prices) if prices else ask.view.reference


def _shown(places: Places, plan: Plan) -> tuple[Run, tuple[KnownOutput, ...]] | None:
    """Have a plan computed that is to be rated; None if the policy cannot spell it."""
    try:
        end = places.follow(places.ask.tell(plan).ids)
    except (PlanError, KeyError, ValueError):
        return None
    return places.beside(plan) if end is None else (end.run, end.told)


def _written(places: Places, searches: Sequence[Search]) -> tuple[Written, ...]:
    """The plans that were finished, the first search's first, each once."""
    ends: dict[tuple[int, ...], Place] = {}
    for search in searches:
        for place in search.found():
            if place.plan is not None and not place.lost:
                # a default that is written out makes no other plan
                ends.setdefault(places.ask.tell(place.plan).ids, place)
    found = []
    for place in ends.values():
        assert place.plan is not None
        rating: Rating = places.rating(place.run, place.told)
        found.append(Written(place.plan, float(sum(place.chances)), rating))
    return tuple(found)
