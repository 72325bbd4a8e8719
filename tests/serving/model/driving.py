"""The real scheduler and pool with a runner, step by step, without the engine around them."""

from collections.abc import Callable, Sequence
from typing import Any

from catp.serving.engine.blocks import BlockPool
from catp.serving.engine.program import Result
from catp.serving.engine.request import Branch, Job, Read, Request
from catp.serving.engine.sampling import Draw, Sampling
from catp.serving.engine.scheduler import Limits, Scheduler
from catp.serving.model.attention.base import Attention
from catp.serving.model.runner import ModelRunner
from catp.serving.model.weights import Weights
from catp.serving.policies.costmodel import CostModel
from catp.serving.policies.registry import policy

GREEDY = Sampling(temperature=0.0)


def greedy(place: int) -> Draw:
    return Draw(GREEDY, 0, place)


class Drive:
    """Jobs in a scheduler; what is read goes to whoever reads it."""

    def __init__(
        self, weights: Weights, plan_ids: Sequence[int] = (), *, budget: int = 512, blocks: int = 400, size: int = 4,
        attention: Attention | None = None,
    ) -> None:  # fmt: skip
        self.pool = BlockPool(blocks, size)
        self.scheduler = Scheduler(self.pool, Limits(token_budget=budget), policy("fcfs"), CostModel())
        self.runner = ModelRunner(weights, blocks, size, plan_ids=plan_ids, attention=attention, threads=1)
        self.listeners: dict[Branch, Callable[[Result], None]] = {}
        self.steps = 0
        self._jobs = 0

    def submit(self, prompt: Sequence[int], *, bound: int = 40, width: int = 1) -> Branch:
        request = Request(f"r{self._jobs}", tuple(prompt), bound, width)
        self._jobs += 1
        return self.scheduler.add(Job(request, None), 0.0)  # type: ignore[arg-type]  # nothing asks the program

    def step(self) -> bool:
        """Do a step; False if nothing is left to compute."""
        step = self.scheduler.schedule(0.0)
        if not step.rows:
            return False
        results = self.runner.execute(step).results
        self.scheduler.complete(step)
        self.steps += 1
        for result in results:
            self.listeners[result.branch](result)
        return True

    def run(self) -> None:
        while self.step():
            pass

    def read(self, branch: Branch, places: Sequence[int]) -> dict[int, Any]:
        """Have the plan rows read at places of a branch; the dictionary fills as steps are done."""
        found: dict[int, Any] = {}

        def listen(result: Result) -> None:
            assert result.error is None
            found[result.at] = result.logits

        self.listeners[branch] = listen
        branch.extend((), [Read(place) for place in places])
        return found

    def write(self, branch: Branch, count: int, forced: Callable[[int], Sequence[int]] = lambda place: ()) -> list[int]:
        """Write greedily after what is there: `forced(n)` follows the n-th token. The list fills as steps are done."""
        found: list[int] = []

        def ask() -> None:
            branch.extend((), [Read(len(branch.tokens) - 1, (greedy(len(found)),))])

        def listen(result: Result) -> None:
            assert result.error is None
            found.append(result.drawn[0].token)
            branch.extend((found[-1], *forced(len(found))))
            if len(found) < count:
                ask()

        self.listeners[branch] = listen
        ask()
        return found
