"""How long a step takes: one linear model for the engine's token budget, for policies, for prices and the simulator.

    t = fixed + token * tokens + attend * sum(chunk * (offset + chunk / 2)) + sequence * decodes + kv * kv_tokens

(the form of DistServe's and Vidur's fits). Coefficients are seconds; they are fitted to the engine's own log of steps
(`catp.serving.policies.fitting.fit`), and none is below zero. What is left of a request is predicted in one place: the
`Outlook`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from catp.serving.policies.protocol import Context, View

__all__ = ["CostModel", "Load", "Outlook"]


@dataclass(frozen=True, slots=True)
class Load:
    """The work of a step: tokens in all, query-key pairs of chunks, decoding rows, and keys that those read."""

    tokens: int = 0
    attended: float = 0.0
    decodes: int = 0
    kv_tokens: int = 0


@dataclass(frozen=True, slots=True)
class CostModel:
    """Seconds per unit of work; the defaults are of a 5M-parameter model on one CPU core."""

    fixed: float = 2e-3
    token: float = 1.5e-4
    attend: float = 1e-8
    sequence: float = 1e-4
    kv: float = 1e-8

    def step(self, load: Load) -> float:
        """Return the seconds of a step."""
        return (
            self.fixed + self.token * load.tokens + self.attend * load.attended
            + self.sequence * load.decodes + self.kv * load.kv_tokens
        )  # fmt: skip

    def outlook(self, context: "Context", waiting: "Sequence[View]" = ()) -> "Outlook":
        """Return what requests will take beside those that run; `waiting` are the prompts that compete with them."""
        return Outlook(self, context, waiting)

    def remaining(self, view: "View", context: "Context") -> float:
        """Return the seconds from now to the end of a request if it were let in now (`Outlook.service`)."""
        return self.outlook(context).service(view)


class Outlook:
    """Predicted times of requests in the batch as it is now. With n running sequences that hold K keys, and budget B:

        steps(P)  = ceil(P / max(B - n, 1))                                      steps that a prompt of P tokens needs
        first     = P * token + attend * P * (C - P / 2) + steps * (fixed + n * (token + sequence) + kv * K)
        decode    = L * (fixed + (n + 1) * (token + sequence) + kv * (K + C + L / 2)) + token * min(L * (B - n), W)
        service   = first + decode                                               seconds from its start to its end
        work      = P * token + attend * P * (C - P / 2) + L * (token + sequence + kv * (C + L / 2))
                    + fixed * max((P + L) / B, L / (n + 1))                      seconds it takes from all others

    P are its uncached prompt tokens, C its prompt in all, L the steps in which it decodes: output tokens that are still
    expected (at least one, at most its bound), but the first one that comes with the end of its prompt. W are the
    prompt tokens of others, whose chunks lengthen those steps.

    `backlog` is the work of prompts that were let in and are not computed yet: nobody starts before.
    """

    __slots__ = ("_attend", "_between", "_budget", "_decode", "_fixed", "_kv", "_rivals", "_room", "_share", "_token",
                 "_tokens", "backlog", "now")  # fmt: skip

    def __init__(self, costs: CostModel, context: "Context", waiting: "Sequence[View]" = ()) -> None:
        count, keys, open_tokens, open_pairs = len(context.running), 0, 0, 0.0
        for view in context.running:
            keys += view.context + view.generated
            if view.prompt:
                open_tokens += view.prompt
                open_pairs += view.prompt * (view.context - 0.5 * view.prompt)
        self.now = context.now
        self._budget = max(context.budget, 1)
        self._room = max(context.budget - count, 1)
        self._token, self._attend, self._kv, self._fixed = costs.token, costs.attend, costs.kv, costs.fixed
        self._tokens = costs.token + costs.sequence
        self._between = costs.fixed + count * self._tokens + costs.kv * keys
        self._decode = self._between + self._tokens
        self._share = 1.0 / (count + 1)
        self._rivals = open_tokens + sum(view.prompt for view in waiting)
        self.backlog = costs.token * open_tokens + costs.attend * open_pairs + self._fixed * open_tokens / self._budget

    @staticmethod
    def decodes(view: "View", left: float | None = None) -> float:
        """Return the steps in which it decodes, if `left` output tokens are to come; None: as many as expected."""
        if left is None:
            left = min(view.length.expected, view.bound) - view.generated
        return max(left, 1.0) - 1.0 if view.prompt else max(left, 1.0)

    def first(self, view: "View") -> float:
        """Return the seconds from its start to its first token."""
        prompt = view.prompt
        if not prompt:
            return self._decode
        pairs = prompt * (view.context - 0.5 * prompt)
        return prompt * self._token + self._attend * pairs + ceil(prompt / self._room) * self._between

    def service(self, view: "View") -> float:
        """Return the seconds from its start to its end."""
        left = self.decodes(view)
        step = self._decode + self._kv * (view.context + 0.5 * left)
        mixed = self._token * min(left * self._room, max(self._rivals - view.prompt, 0))
        return self.first(view) + left * step + mixed

    def work(self, view: "View", left: float | None = None) -> float:
        """Return the seconds of the device that it takes from all others; `left` output tokens if given."""
        prompt, left = view.prompt, self.decodes(view, left)
        return (
            prompt * (self._token + self._attend * (view.context - 0.5 * prompt))
            + left * (self._tokens + self._kv * (view.context + 0.5 * left))
            + self._fixed * max((prompt + left) / self._budget, left * self._share)
        )

    def latest(self, view: "View") -> float:
        """Return its latest start: due time less predicted service, the earlier of first token and end; inf: no SLO."""
        start = inf
        if view.ttft_due is not None and not view.generated:
            start = view.ttft_due - self.first(view)
        if view.e2e_due is not None:
            start = min(start, view.e2e_due - self.service(view))
        return start

    def hopeless(self, view: "View") -> bool:
        """Return whether it cannot meet its SLO any more, even if it starts now."""
        return self.latest(view) < self.now

    def jobs(self, views: "Sequence[View]") -> "list[tuple[float, float]]":
        """Return (due, work) of each as jobs of one machine: with that work ended by then, its latest start holds.

        Equal to `latest(view) + work(view)` and `work(view)`, in one loop because every decision begins with it.
        """
        token, attend, kv, tokens = self._token, self._attend, self._kv, self._tokens
        fixed, room, between, decode, rivals = self._fixed, self._room, self._between, self._decode, self._rivals
        part, share, found = fixed / self._budget, fixed * self._share, []
        for view in views:
            prompt, generated, keys, bound = view.prompt, view.generated, view.context, view.bound
            left = view.length.expected
            left = (left if left < bound else bound) - generated
            if left < 1.0:
                left = 1.0
            fill, first = 0.0, decode
            if prompt:
                left -= 1.0
                fill = prompt * (token + attend * (keys - 0.5 * prompt))
                first = fill + ceil(prompt / room) * between
            reads = kv * (keys + 0.5 * left)
            mine, slots = (prompt + left) * part, left * share
            work = fill + left * (tokens + reads) + (mine if mine > slots else slots)
            start = inf
            if view.ttft_due is not None and not generated:
                start = view.ttft_due - first
            if view.e2e_due is not None:
                mixed = left * room
                others = rivals - prompt if rivals > prompt else 0
                end = view.e2e_due - first - left * (decode + reads) - token * (mixed if mixed < others else others)
                if end < start:
                    start = end
            found.append((start + work, work))
        return found
