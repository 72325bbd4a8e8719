"""Writers for tests: small real ones that draw plans from the decode mask, and ones that go wrong in all known ways."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from catp.planlang.canonical import canonical_plan
from catp.planlang.check import check
from catp.planlang.digest import digest
from catp.planlang.mask import Infeasible, MaskContext, PlanMask
from catp.planlang.nodes import Input, Plan
from catp.planlang.token_ids import Goal, TokenContext, decode_ids
from catp.planlang.tokens import Header
from catp.planners.protocol import PlanRequest
from catp.planners.writer import Decided, Draft, Rating, Unwritable, Usage, Written

Rate = Callable[[Plan, PlanRequest], Rating]

_USAGE = Usage(prompt_tokens=100, plan_tokens=200, seconds=0.05)


def opinion(plan: Plan, request: PlanRequest) -> Rating:
    """A firm opinion that depends only on what the plan does."""
    valid = check(plan, request.registry).ok
    rng = random.Random(digest(canonical_plan(plan, request.registry) if valid else plan))
    return Rating(rng.uniform(0.1, 0.95), rng.uniform(0.0, 0.2))


def random_plans(request: PlanRequest, count: int, seed: int, max_steps: int = 5) -> list[Plan]:
    """Plans drawn token by token from the decode mask, which knows types and steps but no capabilities."""
    inputs = tuple(Input(name, facts.type) for name, facts in request.inputs.items())
    goals = tuple(Goal(want.name, want.type, want.optional) for want in request.wanted)
    try:
        context = TokenContext(request.registry, Header(inputs), goals)
        mask = PlanMask(MaskContext(context, max_steps=max_steps))
    except (Infeasible, ValueError) as error:
        raise Unwritable(str(error)) from error
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        state, ids = mask.start(), list[int]()
        while not mask.finished(state):
            allowed = mask.allowed(state)
            token = rng.choice([token for token in range(allowed.bit_length()) if allowed >> token & 1])
            state, forced = mask.advance(state, token)
            ids += [token, *forced]
        found.append(decode_ids(ids, context))
    return found


@dataclass
class RandomWriter:
    """Draws plans from the decode mask and rates plans by `rate`."""

    rate: Rate = opinion
    usage: Usage = _USAGE
    name: str = "random"
    device: str = "cpu"
    shown: list[Plan] = field(default_factory=list)

    async def write(
        self, request: PlanRequest, *, samples: int = 8, beams: int = 0, shown: Sequence[Plan] = (), seed: int = 0,
        decided: Decided | None = None,
    ) -> Draft:  # fmt: skip
        self.shown = list(shown)
        plans = await asyncio.to_thread(random_plans, request, 1 + samples + beams, seed)
        written = tuple(Written(plan, -1.0, self.rate(plan, request)) for plan in plans)
        return Draft(written, tuple(self.rate(plan, request) for plan in shown), self.usage)


@dataclass
class GivenWriter:
    """Writes the plans it was given; an exception is raised instead."""

    answer: Sequence[Plan] | BaseException | None
    rate: Rate = opinion
    rate_shown: bool = True
    usage: Usage = _USAGE
    name: str = "given"
    device: str = "cpu"

    async def write(
        self, request: PlanRequest, *, samples: int = 8, beams: int = 0, shown: Sequence[Plan] = (), seed: int = 0,
        decided: Decided | None = None,
    ) -> Draft:  # fmt: skip
        if isinstance(self.answer, BaseException):
            raise self.answer
        if self.answer is None:
            await asyncio.Event().wait()  # hangs
        assert self.answer is not None
        written = tuple(Written(plan, -1.0, self.rate(plan, request)) for plan in self.answer)
        return Draft(written, tuple(self.rate(p, request) if self.rate_shown else None for p in shown), self.usage)
