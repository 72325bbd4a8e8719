"""Nobody is preempted under default limits: what that rests on against brute force, and whole runs at random.

Runs do what the engine's programs may do: a job always has something to compute until it ends; it forks at or behind
its full prompt blocks, closes branches, forces runs of tokens; others arrive, are cancelled, share what they write.
`python -m tests.serving.engine.test_promise 5000` tries more seeds.
"""

import sys
from itertools import permutations
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from catp.serving.engine.blocks import BlockPool
from catp.serving.engine.errors import Refused
from catp.serving.engine.forecast import Growth, Pace, peak, safe
from catp.serving.engine.request import Branch, Job, Phase, Read, Request
from catp.serving.engine.scheduler import Limits, Scheduler
from catp.serving.policies.costmodel import CostModel
from catp.serving.policies.registry import policy

SMALL = st.integers(0, 6)
GROWTHS = st.lists(
    st.builds(
        lambda held, left, room, width, slack: Growth(held, left, room, width, held + slack),
        SMALL, st.integers(0, 20), st.integers(0, 3), st.integers(1, 3), SMALL,
    ),
    min_size=1, max_size=6,
)  # fmt: skip


@given(available=SMALL, claims=st.lists(st.tuples(SMALL, SMALL), max_size=5))
@settings(derandomize=True, deadline=None, max_examples=300)
def test_safe_says_whether_any_order_of_ends_works(available: int, claims: list[tuple[int, int]]) -> None:
    def works(order: tuple[tuple[int, int], ...]) -> bool:
        left = available
        for need, private in order:
            if need > left:
                return False
            left += private
        return True

    assert safe(available, claims) == any(works(order) for order in permutations(claims))


@given(growths=GROWTHS, size=st.integers(4, 6))
@settings(derandomize=True, deadline=None, max_examples=300)
def test_peak_is_what_a_token_at_a_time_comes_to(growths: list[Growth], size: int) -> None:
    most = 0
    for time in range(max(job.left for job in growths) + 1):
        most = max(most, sum(
            min(job.held + job.width * (-(-max(time - job.room, 0) // size)), job.most)
            for job in growths if job.left >= time
        ))  # fmt: skip
    assert peak(growths, size) == most
    first, *others = growths
    pace = Pace([first], size)
    for job in others:
        expected = pace.peak(job)
        pace.add(job)
        assert pace.use.max() == expected
    assert pace.use.max() == most


class Run:
    """A scheduler with random limits, and jobs that live at random; steps take no time and compute nothing."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = Random(seed)
        self.size = rng.choice([1, 2, 4])
        self.pool = BlockPool(rng.choice([4, 8, 16, 24]), self.size)
        limits = Limits(
            max_sequences=rng.choice([3, 6, 12]), token_budget=rng.choice([2, 7, 40]), watermark=rng.choice([0, 0, 1]),
            max_waiting=8, max_skips=rng.choice([2, 50]),
        )  # fmt: skip
        name = rng.choice(["fcfs", "spf", "edf", "moore-hodgson"])
        self.scheduler = Scheduler(self.pool, limits, policy(name), CostModel(), timer=lambda: 0.0)
        self.prefixes = [[number] * 30 for number in range(rng.choice([1, 3]))]
        self.alphabet = rng.choice([1, 2, 50])  # few tokens: outputs are equal, and are found in the cache
        self.calm = rng.random() < 0.5
        self.number, self.now = 0, 0.0
        self.jobs: list[Job] = []

    def go(self, steps: int) -> None:
        for number in range(steps):
            self.now += 0.01
            while number < steps * 3 // 4 and self.rng.random() < 0.5:
                self.arrive()
            step = self.scheduler.schedule(self.now)
            assert not self.scheduler.preempted, "preempted under default admission"
            assert not step.stuck
            assert step.rows or not self.jobs, "jobs are there, and nothing is computed"
            if self.rng.random() < 0.1:
                self.arrive()
            if self.jobs and self.rng.random() < 0.03:
                self.end(self.rng.choice(self.jobs))
            if step.rows and self.rng.random() < 0.03:
                self.scheduler.abandon(step)
            else:
                self.scheduler.complete(step, 0.01)
            self.pool.check([branch.blocks for job in self.jobs for branch in job.branches])
            for job in list(self.jobs):
                if job.phase is Phase.RUNNING:
                    self.advance(job)
            self.holds()

    def arrive(self) -> None:
        rng = self.rng
        prompt = rng.choice(self.prefixes)[: rng.randrange(1, 16)] + self.tokens(rng.randrange(3))
        width = rng.choice([1, 1, 2, 3])
        job = Job(Request(str(self.number), tuple(prompt), rng.randrange(1, 16), width, self.now), None)  # type: ignore[arg-type]
        self.number += 1
        try:
            root = self.scheduler.add(job, self.now)
        except Refused:  # too large for the pool, or the queue is full
            return
        root.extend((), [Read(len(prompt) - 1)])
        self.jobs.append(job)

    def advance(self, job: Job) -> None:
        """Do with a job what its program might do after a step."""
        rng, request = self.rng, job.request
        end = len(request.prompt) + request.bound
        for branch in list(job.branches):
            if branch.pending:
                continue
            if len(job.branches) > 1 and rng.random() < (0.1 if self.calm else 0.3):
                self.scheduler.close(branch)
                continue
            self.fork(job, branch)
            if len(branch.tokens) < end:
                run = self.tokens(rng.choice([1, 1, 1, 2, 9]))[: end - len(branch.tokens)]
                branch.extend(run, [Read(len(branch.tokens) + len(run) - 1)])
        if not job.pending or (rng.random() < 0.02 and not self.calm):
            self.end(job)

    def fork(self, job: Job, branch: Branch) -> None:
        prompt = len(job.request.prompt)
        while len(job.branches) < job.request.width and self.rng.random() < 0.5:
            least = max(prompt // self.size * self.size, 1)
            self.scheduler.fork(branch, self.rng.randrange(least, len(branch.tokens) + 1))

    def tokens(self, count: int) -> list[int]:
        return [self.rng.randrange(self.alphabet) for _ in range(count)]

    def end(self, job: Job) -> None:
        self.scheduler.finish(job, "stop", self.now)
        self.jobs.remove(job)

    def holds(self) -> None:
        """What is counted as blocks change hands is what a recount finds."""
        holders: dict[int, set[Job]] = {}
        for job in self.jobs:
            for block in {block for branch in job.branches for block in branch.blocks}:
                holders.setdefault(block, set()).add(job)
        for job in self.jobs:
            mine = [block for block, jobs in holders.items() if job in jobs]
            assert sorted(job.holding.blocks) == sorted(mine)
            assert job.holding.private == sum(len(holders[block]) == 1 for block in mine)
            kept = {block for branch in job.branches for block in branch.blocks[: job.holding.kept]}
            assert job.holding.common == sum(len(holders[block]) > 1 for block in kept)


def test_nobody_is_preempted_under_default_limits() -> None:
    for seed in range(200):
        Run(seed).go(40)


if __name__ == "__main__":
    for seed in range(int(sys.argv[1])):
        try:
            Run(seed).go(120)
        except Exception as error:
            print(seed, type(error).__name__, str(error)[:80])
    print("done")
