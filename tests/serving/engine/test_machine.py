"""Everything a scheduler may be asked to do, in random order, against dictionaries of lists.

The fake runner checks every read of every row against the tokens that belong there; the invariants below hold after
every rule. Steps stay in flight while other rules run.
"""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from catp.serving.engine.blocks import BlockPool
from catp.serving.engine.errors import NoBlocks, Refused
from catp.serving.engine.request import Branch, Job, Phase, Read, Request, Slo
from catp.serving.engine.scheduler import Limits, Scheduler
from catp.serving.engine.step import Step
from catp.serving.policies.costmodel import CostModel
from catp.serving.policies.registry import policy
from tests.serving.engine.fakes import FakeRunner

PREFIXES = [[1] * 40, [1] * 9 + [2] * 31, [3, 1] * 20]


class Machine(RuleBasedStateMachine):
    """`tokens` is the reference: what each open branch must hold."""

    @initialize(
        blocks=st.sampled_from([6, 12, 30]), size=st.sampled_from([1, 2, 4, 8]), sequences=st.sampled_from([1, 3, 8]),
        budget=st.sampled_from([1, 5, 40]), overcommit=st.booleans(), name=st.sampled_from(["fcfs", "spf", "edf"]),
        watermark=st.sampled_from([0, 1]), skips=st.sampled_from([2, 100]),
    )  # fmt: skip
    def begin(self, blocks: int, size: int, name: str, **limits: Any) -> None:
        self.pool = BlockPool(blocks, size)
        self.limits = Limits(
            max_sequences=limits["sequences"], token_budget=limits["budget"], max_waiting=6,
            watermark=limits["watermark"], max_skips=limits["skips"], overcommit=limits["overcommit"],
        )  # fmt: skip
        self.scheduler = Scheduler(self.pool, self.limits, policy(name), CostModel(), timer=lambda: 0.0)
        self.runner = FakeRunner(self.pool)
        self.now, self.number = 0.0, 0
        self.tokens: dict[int, list[int]] = {}
        self.jobs: dict[str, Job] = {}
        self.branches: list[Branch] = []
        self.flight: Step | None = None
        self.tables: dict[int, list[int]] = {}
        self.forced = 0
        self.ended_now = False
        self.pins: list[list[int]] = []

    def teardown(self) -> None:
        """Whatever happened, everything ends, and nothing is left but the cache."""
        if not hasattr(self, "pool"):
            return
        if self.flight is not None:
            self.complete()
        for prefix in self.pins:
            self.pool.unpin(prefix)
        for _ in range(3000):
            if not self.step_all():
                break
        assert not self.scheduler.waiting, "jobs wait and nothing runs"
        for job in list(self.jobs.values()):
            assert not job.pending
            self.end(job)
        assert self.pool.used == 0
        self.pool.check([])

    def step_all(self) -> bool:
        """Do a step; jobs whose tokens are all computed end if others wait for their place."""
        self.schedule()
        if self.flight is not None:
            self.complete()
            return True
        idle = [job for job in self.scheduler.running if not job.pending]
        if self.scheduler.waiting and idle:
            self.end(idle[0])
            return True
        return bool(self.scheduler.waiting) and bool(self.jobs) and self.ended_now

    def end(self, job: Job, reason: Any = "stop") -> None:
        gone = [branch for branch in self.branches if branch.job is job]
        self.scheduler.finish(job, reason, self.now)
        self.branches = [branch for branch in self.branches if branch.job is not job]
        for branch in gone:
            del self.tokens[branch.number]
            assert branch.closed
        del self.jobs[job.id]
        assert job.phase is Phase.DONE
        assert job.finish == reason

    @rule(
        prefix=st.sampled_from(PREFIXES), length=st.integers(1, 24), tail=st.lists(st.integers(0, 3), max_size=5),
        bound=st.integers(1, 14), width=st.integers(1, 3), adapter=st.sampled_from([None, None, "a"]),
        drop=st.sampled_from([None, None, 0.05, 5.0]),
    )  # fmt: skip
    def add(
        self, prefix: list[int], length: int, tail: list[int], bound: int, width: int, adapter: str | None,
        drop: float | None,
    ) -> None:  # fmt: skip
        prompt = tuple(prefix[:length] + tail)
        request = Request(
            str(self.number), prompt, bound, width, self.now, adapter, slo=Slo(e2e=drop), drop_late=drop is not None
        )
        self.number += 1
        job: Job = Job(request, program=None)  # type: ignore[arg-type]
        size = self.pool.size
        shared = len(prompt) // size
        most = shared + width * (-(-(len(prompt) + bound) // size) - shared)
        waiting = len(self.scheduler.waiting)
        refused = {
            "too_large": most > self.pool.blocks - self.limits.watermark,
            "queue_full": waiting >= 6,
            "bad_request": width > self.limits.max_sequences,
        }
        reason = ""
        try:
            root = self.scheduler.add(job, self.now)
        except Refused as refusal:
            reason = refusal.reason
        if reason:
            assert refused.get(reason, reason == "hopeless" and drop is not None)
            return
        assert not any(refused.values())
        root.extend((), [Read(len(prompt) - 1)])
        self.jobs[job.id] = job
        self.branches.append(root)
        self.tokens[root.number] = list(prompt)

    @precondition(lambda self: self.flight is None)
    @rule()
    def schedule(self) -> None:
        self.now += 0.01
        preempted = self.scheduler.preempted
        step = self.scheduler.schedule(self.now)
        if not self.limits.overcommit and not self.forced:
            assert self.scheduler.preempted == preempted, "preempted under default admission"
            assert not step.stuck
        assert step.tokens <= self.limits.token_budget
        assert len(step.rows) <= self.limits.max_sequences
        assert len({row.branch.number for row in step.rows}) == len(step.rows)
        assert sum(job.request.width for job in self.scheduler.running) <= self.limits.max_sequences
        for row in step.rows:
            assert row.begin == row.branch.computed
            assert row.end <= len(row.branch.tokens)
            assert row.branch.job.phase is Phase.RUNNING
            written = range(row.begin // self.pool.size, -(-row.end // self.pool.size))
            for block in (row.branch.blocks[number] for number in written):
                assert self.pool.refs[block] == 1, "a row writes to a block that others use"
                assert not self.pool.sealed(block), "a row writes to a block that the cache knows"
        self.ended_now = bool(step.late or step.stuck)
        for job in (*step.late, *step.stuck):
            self.end(job, "deadline" if job in step.late else "failed")
        if step.rows:
            self.flight = step
            self.tables = {row.branch.number: list(row.branch.blocks) for row in step.rows}
        elif not self.ended_now:
            assert not any(job.pending for job in self.scheduler.running), "jobs run, and nothing is computed"

    @precondition(lambda self: self.flight is not None)
    @rule()
    def complete(self) -> None:
        step, self.flight = self.flight, None
        assert step is not None
        for row in step.rows:  # whatever happened meanwhile, the runner finds the tables as they were
            assert row.branch.blocks == self.tables[row.branch.number]
        results = self.runner.execute(step).results
        for result in results:
            assert result.at in {read.at for read in result.branch.reads}
        self.scheduler.complete(step, 0.01)
        for row in step.rows:
            if not row.branch.closed:
                assert row.branch.computed == row.end
                assert all(read.at >= row.end for read in row.branch.reads)

    @precondition(lambda self: self.flight is not None)
    @rule()
    def abandon(self) -> None:
        step, self.flight = self.flight, None
        assert step is not None
        self.scheduler.abandon(step)

    @precondition(lambda self: self.flight is not None and len(self.flight.rows) > 1)
    @rule()
    def in_halves(self) -> None:
        step = self.flight
        assert step is not None
        middle = len(step.rows) // 2
        self.runner.execute(step)
        self.scheduler.complete(Step(step.rows[:middle], step.copies))
        self.scheduler.complete(Step(step.rows[middle:]))
        self.flight = None

    @precondition(lambda self: self.branches)
    @rule(data=st.data(), ids=st.lists(st.integers(0, 3), min_size=1, max_size=6), read=st.booleans())
    def extend(self, data: st.DataObject, ids: list[int], read: bool) -> None:
        branch = data.draw(st.sampled_from(self.branches))
        request = branch.job.request
        ids = ids[: len(request.prompt) + request.bound - len(branch.tokens)]
        branch.extend(ids, [Read(len(branch.tokens) + len(ids) - 1)] if read and ids else [])
        self.tokens[branch.number] += ids

    @precondition(lambda self: self.branches)
    @rule(data=st.data(), anywhere=st.booleans())
    def fork(self, data: st.DataObject, anywhere: bool) -> None:
        branch = data.draw(st.sampled_from(self.branches))
        job = branch.job
        if len(job.branches) >= job.request.width:
            return
        prompt = len(job.request.prompt)
        least = 1 if anywhere else min(prompt, len(branch.tokens))
        at = data.draw(st.integers(least, len(branch.tokens)))
        if at // self.pool.size < prompt // self.pool.size:  # promised memory was counted with the whole prompt shared
            self.forced += 1
        child = self.scheduler.fork(branch, at)
        assert child.tokens == branch.tokens[:at]
        if at <= branch.computed:
            assert child.computed == at
        self.branches.append(child)
        self.tokens[child.number] = self.tokens[branch.number][:at]

    @precondition(lambda self: self.branches)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        branch = data.draw(st.sampled_from(self.branches))
        if len(branch.job.branches) > 1:
            self.scheduler.close(branch)
            self.branches.remove(branch)
            del self.tokens[branch.number]

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), reason=st.sampled_from(["stop", "cancelled"]))
    def finish(self, data: st.DataObject, reason: str) -> None:
        self.end(self.jobs[data.draw(st.sampled_from(sorted(self.jobs)))], reason)

    @precondition(lambda self: self.flight is None and self.scheduler.running)
    @rule(data=st.data())
    def preempt(self, data: st.DataObject) -> None:
        self.scheduler.preempt(data.draw(st.sampled_from(self.scheduler.running)))

    @rule(prefix=st.sampled_from(PREFIXES), length=st.integers(1, 24))
    def pin(self, prefix: list[int], length: int) -> None:
        try:
            self.pool.pin(prefix[:length])
        except NoBlocks:
            return
        self.pins.append(prefix[:length])
        self.forced += 1  # pins may be taken back, and until then they are in the way

    @precondition(lambda self: self.pins)
    @rule()
    def unpin(self) -> None:
        self.pool.unpin(self.pins.pop())

    @invariant()
    def adds_up(self) -> None:
        if not hasattr(self, "pool"):
            return
        open_ = [branch for job in self.jobs.values() for branch in job.branches]
        assert sorted(branch.number for branch in open_) == sorted(self.tokens)
        for branch in open_:
            assert branch.tokens == self.tokens[branch.number]
            assert 0 <= branch.computed <= len(branch.tokens)
            assert len(branch.blocks) * self.pool.size >= branch.computed
            assert [read.at for read in branch.reads] == sorted(read.at for read in branch.reads)
            assert all(read.at >= branch.computed for read in branch.reads), "a read was skipped"
        waiting, running = ({job.id for job in jobs} for jobs in (self.scheduler.waiting, self.scheduler.running))
        assert not waiting & running
        assert waiting | running == set(self.jobs)
        if self.flight is None:
            self.pool.check([branch.blocks for branch in open_])


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    stateful_step_count=30,
    phases=[Stage.generate],
    suppress_health_check=list(HealthCheck),
)
