"""Fair shares between tenants, on a small server that serves whom the policy names."""

from dataclasses import replace

import numpy as np
import pytest

from catp.serving.policies.base import QueuePolicy
from catp.serving.policies.fairness import Fair
from catp.serving.policies.protocol import View
from catp.serving.policies.registry import policy
from tests.serving.policies.queues import context, view

LONGEST_PROMPT, LONGEST_OUTPUT, SLOTS = 200, 40, 4


class Server:
    """Computes a whole prompt in its first step, then a token a step, for as many requests as there are slots."""

    def __init__(self, one: QueuePolicy, rates: dict[str, int], seed: int) -> None:
        self.policy, self.rates = one, rates
        self.rng = np.random.default_rng(seed)
        self.waiting: list[View] = []
        self.running: list[View] = []
        self.served = dict.fromkeys(rates, 0.0)
        self.count = 0

    def arrive(self) -> None:
        """Keep as many requests of each tenant waiting as it likes to send."""
        for tenant, rate in self.rates.items():
            for _ in range(rate - sum(request.tenant == tenant for request in self.waiting)):
                prompt, output = self.rng.integers(1, LONGEST_PROMPT + 1), self.rng.integers(1, LONGEST_OUTPUT + 1)
                self.waiting.append(
                    view(self.count, prompt=int(prompt), output=int(output), tenant=tenant, wait=-self.count, blocks=1)
                )
                self.count += 1

    def step(self) -> None:
        if self.waiting and len(self.running) < SLOTS:
            ids = self.policy.order(self.waiting, context(*self.running))[: SLOTS - len(self.running)]
            by_id = {request.id: request for request in self.waiting}
            self.running += [by_id[name] for name in ids]
            self.waiting = [request for request in self.waiting if request.id not in ids]
        going = []
        for request in self.running:
            self.policy.served(request.tenant, request.prompt, 1)
            self.served[request.tenant] += request.prompt + 2
            request = replace(request, prompt=0, generated=request.generated + 1)
            if request.generated < request.length.expected:
                going.append(request)
        self.running = going


def unfairness(one: QueuePolicy, rates: dict[str, int], seed: int) -> float:
    """The greatest difference of service, over all intervals, of tenants that always wait."""
    server, gaps = Server(one, rates, seed), []
    for _ in range(1500):
        server.arrive()
        server.step()
        first, *others = server.served.values()
        gaps.append([first - other for other in others])
    return float(np.ptp(np.array(gaps), axis=0).max())


@pytest.mark.parametrize("inner", ["fcfs", "spf", "moore-hodgson"])
@pytest.mark.parametrize("seed", [0, 1])
def test_service_of_two_that_wait_differs_by_a_bound_however_much_one_sends(inner: str, seed: int) -> None:
    rates = {"greedy": 30, "modest": 4, "other": 4}
    bound = 2 * max(1 * LONGEST_PROMPT, 2 * SLOTS * LONGEST_OUTPUT)  # 2 max(w_p L_input, w_q M), theorem 4.4
    assert unfairness(policy(f"{inner}+fair"), rates, seed) <= bound


def test_first_come_first_served_is_not_fair() -> None:
    assert unfairness(policy("fcfs"), {"greedy": 30, "modest": 4, "other": 4}, 0) > 5_000


def test_who_returns_has_saved_no_credit() -> None:
    one = Fair(policy("fcfs"))
    mine = [view(number, tenant="stayed", prompt=100) for number in range(6)]
    one.order(mine, context())
    one.served("stayed", 5_000, 500)
    theirs = [view(10 + number, tenant="returned", prompt=100) for number in range(6)]
    order = one.order([*mine, *theirs], context())
    assert one.counters["returned"] == one.counters["stayed"] == 6_000
    assert [sum(name >= "r010" for name in order[:count]) for count in (2, 4, 6)] == [1, 2, 3]


def test_a_tenant_that_left_for_good_lifts_nobody_above_those_that_wait() -> None:
    one = Fair(policy("fcfs"))
    one.order([view(1, tenant="big")], context())
    one.served("big", 9_000, 0)
    one.order([view(2, tenant="small")], context())  # the queue was empty but for "big", who left: its level holds
    assert one.counters["small"] == 9_000
    one.order([view(2, tenant="small"), view(3, tenant="new")], context())
    assert one.counters["new"] == 9_000


def test_the_victim_is_of_the_tenant_that_was_served_most() -> None:
    one = Fair(policy("fcfs"))
    one.served("a", 10, 0)
    one.served("b", 0, 10)
    running = [view(1, tenant="a", blocks=1), view(2, tenant="b", blocks=1, wait=9), view(3, tenant="b", wait=1)]
    assert one.victim(running, context()) == "r002"


def test_prompts_that_run_and_are_not_computed_yet_count() -> None:
    waiting = [view(1, tenant="a", prompt=10, wait=5), view(2, tenant="b", prompt=10)]
    assert Fair(policy("fcfs")).order(waiting, context()) == ["r001", "r002"]
    assert Fair(policy("fcfs")).order(waiting, context(view(3, tenant="a", prompt=900))) == ["r002", "r001"]
