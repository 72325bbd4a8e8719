"""What an agent does with runs that are in its store: go on with them, fork, replay and end them, decide about them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from catp.approvals import ApprovalMode, ApprovalPolicy, user
from catp.decisions import answer, open_questions
from catp.execution import Execution
from catp.planlang.money import Money
from catp.planners.protocol import Objective
from catp.quoting import money_of
from catp.result import RunResult
from catp.runtime.events import RunEvent
from catp.runtime.repairs import Repairer
from catp.runtime.run import Approver

if TYPE_CHECKING:
    from catp.replaying import Replay
    from catp.resume import InFlight
    from catp.store.approvals import Approval
    from catp.store.database import Database
    from catp.store.store import RunStore

__all__ = ["SavedRuns"]


class SavedRuns(ABC):
    """The part of `Agent` that works on saved runs."""

    store: "RunStore | None"

    @abstractmethod
    def _execution(self) -> Execution: ...

    @abstractmethod
    def _policy(self, approve: "Approver | ApprovalMode | ApprovalPolicy | None") -> ApprovalPolicy | None: ...

    @abstractmethod
    def _repairs(self, task: str, objective: Objective) -> Repairer | None: ...

    async def resume(
        self,
        run_id: str,
        *,
        in_flight: "InFlight | None" = None,
        retry_failed: bool = False,
        inputs: Mapping[str, Any] | None = None,
        budget: str | Money | None = None,
        deadline_s: float | None = None,
        approve: "Approver | ApprovalMode | ApprovalPolicy | None" = None,
        on_event: Callable[[RunEvent], None] | None = None,
    ) -> RunResult:
        """Go on with a saved run; what has finished is not called and not paid again. See docs/runtime.md.

        Args:
            run_id: The run, or an unambiguous part of its id.
            in_flight: What to do about calls of tools that write and may have acted: `"again"`, `"done"` or `"failed"`
                for all, by step (`{"book": Decision("done", value)}`), or a callable that is asked.
            retry_failed: Also run again what had failed, was refused or was cancelled for good.
            inputs: Those inputs that were not saved in a form that can be read back.
            budget: A new cap for the whole run instead of the one it was given; what was spent counts.
            deadline_s: A new deadline; the time in which no process drove the run does not count.
            approve: As for `run`.
            on_event: Called with every further event.

        Raises:
            InDoubt: somebody must decide about calls first; nothing was run. CannotResume: it has ended, or its plan
            no longer fits the tools. RunOwned: a living process drives it. KeyError: there is no such run.
        """
        from catp.resume import resume_run

        return await resume_run(
            self._execution(), run_id, in_flight=in_flight, retry_failed=retry_failed, inputs=inputs,
            budget=money_of("budget", budget), deadline_s=deadline_s, approve=self._policy(approve), on_event=on_event,
            repairs=self._repairs,
        )  # fmt: skip

    async def fork(
        self,
        run_id: str,
        from_step: str | None = None,
        *,
        set: Mapping[str, str] | None = None,
        inputs: Mapping[str, Any] | None = None,
        budget: str | Money | None = None,
        deadline_s: float | None = None,
        approve: "Approver | ApprovalMode | ApprovalPolicy | None" = None,
        on_event: Callable[[RunEvent], None] | None = None,
    ) -> RunResult:
        """Run a saved run again from a step on, as a new run; what does not depend on it keeps its value for nothing.

        `set` puts other tools in: by step (`{"ocr": "other.ocr"}`) or wherever a tool is used; `inputs` gives some
        inputs anew. Whatever depends on these runs again, and so does what had no value.

        Raises:
            CannotResume: the step is not there, or the plan does not fit the tools. RunRefused: what is to be done is
            expected to cost more than the budget. KeyError: there is no such run.
        """
        from catp.fork import fork_run

        return await fork_run(
            self._execution(), run_id, from_step=from_step, set_=set or {}, inputs=inputs or {},
            budget=money_of("budget", budget), deadline_s=deadline_s, approve=self._policy(approve), on_event=on_event,
            repairs=self._repairs,
        )  # fmt: skip

    async def replay(
        self,
        run_id: str,
        *,
        set: Mapping[str, str] | None = None,
        workers: int | None = None,
        budget: str | Money | None = None,
        deadline_s: float | None = None,
    ) -> "Replay":
        """Run a saved run once more from its record: no tool is called, nothing is spent, time is virtual.

        Unchanged, it ends as it did. With other tools (as for `fork`), another number of `workers`, budget or deadline
        it says what that would have cost and taken: calls that were not made then are priced by the estimator.

        Raises:
            CannotResume: the plan does not fit the tools. KeyError: there is no such run.
        """
        from catp.replaying import replay_run

        return await replay_run(
            self._execution(), run_id, set_=set or {}, workers=workers, budget=money_of("budget", budget),
            deadline_s=deadline_s,
        )  # fmt: skip

    async def cancel(self, run_id: str, reason: str = "cancelled for good") -> RunResult:
        """End a waiting or interrupted run for good, without calling anything; what was in flight is charged."""
        from catp.resume import cancel_run

        return await cancel_run(self._execution(), run_id, reason)

    async def approvals(self, run_id: str | None = None) -> "list[Approval]":
        """Return the questions that wait for an answer, oldest first: in one run (full id), or in the whole store.

        Raises:
            ValueError: the agent has no store. StoreError: it cannot be read.
        """
        return await open_questions(self._database(), run_id)

    async def decide(
        self,
        run_id: str,
        step: str | None = None,
        *,
        granted: bool = True,
        by: str | None = None,
        reason: str = "",
        expires_s: float | None = None,
        cap: str | Money | None = None,
    ) -> "Approval":
        """Answer the question about a step of a run (full id), or about its whole plan, whoever runs it and where.

        The answer holds for `expires_s` seconds, by default as long as the question; `by` is your user name by default.
        With `cap`, it is a yes to a whole plan that may spend no more than that, which is less than was asked for.

        Raises:
            ApprovalError: nothing is asked, or somebody decided before. ValueError: the agent has no store.
        """
        by = user() if by is None else by
        return await answer(
            self._database(), run_id, step, granted=granted, by=by, reason=reason, expires_s=expires_s,
            cap=money_of("cap", cap),
        )  # fmt: skip

    def _database(self) -> "Database":
        if self.store is None:
            raise ValueError("the agent has no store, so no question is kept; give it one with `store=`")
        return self.store.database
