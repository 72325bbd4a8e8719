"""A flood of requests into a full queue: each is refused with a time to come back, and nobody else notices."""

import gc

import pytest

from catp.serving.engine.blocks import BlockPool
from catp.serving.engine.core import Core
from catp.serving.engine.errors import Refused
from catp.serving.engine.request import Request
from catp.serving.engine.scheduler import Limits, Scheduler
from catp.serving.policies.costmodel import CostModel
from catp.serving.policies.registry import policy
from tests.serving.engine.fakes import FakeRunner
from tests.serving.engine.test_scheduler import Ends, Writer

STEPS = 100


class Overload:
    """Keeps the queue full for some steps; `flood` more requests knock in vain before each of them."""

    def __init__(self, name: str, flood: int) -> None:
        self.pool = BlockPool(40, 4)
        limits = Limits(max_sequences=4, token_budget=24, max_waiting=8)
        scheduler = Scheduler(self.pool, limits, policy(name), CostModel(), timer=lambda: 0.0)
        self.core = Core(scheduler, FakeRunner(self.pool), lambda: self.core.steps * 0.01)
        self.ends, self.refusals, self.objects, number = Ends(), list[float | None](), list[int](), 0
        self.core.steps = 0
        for step in range(STEPS):
            while len(scheduler.queue) < 8:
                assert self.submit(f"regular {number}", number)
                number += 1
            for knock in range(flood):
                assert not self.submit(f"flood {step} {knock}", knock)
            self.core.step()
            assert len(scheduler.waiting) <= 8
            assert len(self.core) <= 12
            if step in (STEPS // 4, STEPS - 1):
                gc.collect()
                self.objects.append(len(gc.get_objects()))

    def submit(self, id_: str, number: int) -> bool:
        try:
            self.core.submit(Request(id_, (*range(6), number % 50), 5, arrival=self.core.clock()), Writer(5), self.ends)
        except Refused as refusal:
            self.refusals.append(refusal.retry_after)
            return refusal.reason != "queue_full"
        return True


@pytest.mark.parametrize("name", ["fcfs", "moore-hodgson"])
def test_five_thousand_refused_requests_change_nothing_for_the_others(name: str) -> None:
    quiet, flooded = Overload(name, 0), Overload(name, 50)
    assert len(flooded.refusals) == 5000
    assert not quiet.refusals
    assert all(after is not None and 0 < after < 60 for after in flooded.refusals)
    assert len(quiet.ends.found) > 50
    ended = [[job.ended for job, _ in run.ends.found.values()] for run in (quiet, flooded)]
    assert ended[0] == ended[1], "as many requests end at any time"
    if name == "fcfs":  # which of several equal requests is the next does not matter to the other policy
        assert list(flooded.ends.found) == list(quiet.ends.found)
    for id_ in flooded.ends.found.keys() & quiet.ends.found.keys():
        assert flooded.ends.found[id_][1] == quiet.ends.found[id_][1]
    grown = [run.objects[1] - run.objects[0] for run in (quiet, flooded)]
    assert grown[1] - grown[0] < 200, f"refused requests leave {grown[1] - grown[0]} objects behind"
