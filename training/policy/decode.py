"""Writing plans under the decode mask: greedy, sampled and beam-searched plans of one request, all at once.

    prompt + <plan> ── place ── place ── place    a place is where something is to choose: a plan token, and behind it
                          └──── place ── end      all that follows without a choice, forced tokens and what is known

Writers that choose the same token at the same place go on from the same new place, which is computed once; plans that
are shown are followed through the same places. So every step is one forward pass over what is new, however many plans
are under way. The log-probability of a plan is that of `catp.training.caorl.losses.heads_of`, and so is its
rating, but for what a forest beside the network adds (`correct`).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from catp.planlang.errors import PlanError
from catp.planlang.mask.automaton import PlanMask, State
from catp.planlang.nodes import Plan, Step
from catp.planlang.token_ids import decode_ids
from catp.planners.writer import Rating
from catp.training.policy.tree import Run
from catp.training.prompt.ask import Ask, Told, goal_weights
from catp.training.prompt.buckets import QUALITY_LEVELS
from catp.training.prompt.form import Narrator
from catp.training.prompt.known import KnownOutput, KnownStep
from catp.training.prompt.tokens import PolicyTokens

__all__ = ["MAX_TOKENS", "Place", "Places", "Search", "Walk"]

MAX_TOKENS = 1024
"""Most tokens of a plan, forced ones included; the mask's own bounds are reached long before."""

Floats = NDArray[np.float64]


@dataclass(eq=False)
class Place:
    """Where a plan goes on, or ends.

    `ids` are its plan tokens so far, `choices` those that may come next (ascending) and `logp` their log-probabilities,
    both empty until the place is computed. `told` are a finished plan's outputs.
    """

    before: "Place | None"
    token: int
    """What was chosen at `before`."""
    run: Run
    state: State
    ids: tuple[int, ...]
    steps: tuple[KnownStep, ...]
    plan: Plan | None = None
    told: tuple[KnownOutput, ...] = ()
    choices: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    logp: Floats = field(default_factory=lambda: np.empty(0))
    next: dict[int, "Place"] = field(default_factory=dict)
    lost: bool = False
    """Its plan is longer than a plan may be."""

    @property
    def ready(self) -> bool:
        """Whether something can be chosen here."""
        return len(self.choices) > 0

    @property
    def chances(self) -> tuple[float, ...]:
        """The log-probability of every choice on the way here, latest first; tokens that were forced are no choice."""
        found, place = [], self
        while place.before is not None:
            above = place.before
            found.append(float(above.logp[np.searchsorted(above.choices, place.token)]))
            place = above
        return tuple(found)


class Places:
    """The places of one request. Somebody else computes: logits of a run are those of the plan tokens, and after them
    those of the quality levels.

    Args:
        ask: the request.
        mask: its decode mask.
        narrator: tells what is known between plan tokens.
        tokens: of the model.
        prompt: the prompt's tokens.
        room: most tokens of a plan.
        trust: share of the predicted difference from the composed score that counts.
        correct: what is added to the rating of a plan.
    """

    def __init__(
        self, ask: Ask, mask: PlanMask, narrator: Narrator, tokens: PolicyTokens, prompt: Sequence[int],
        room: int = MAX_TOKENS, trust: float = 1.0, correct: Callable[[Told], float] | None = None,
    ) -> None:  # fmt: skip
        self.ask, self.prompt, self.room = ask, prompt, room
        self._trust, self._correct = trust, correct
        self._mask, self._narrator, self._tokens = mask, narrator, tokens
        self._last = len(prompt) + room
        self._vocabulary = ask.context.vocabulary
        self._first_tool = self._vocabulary.span("t").start
        self._end, self._close = self._vocabulary.id("<end>"), self._vocabulary.id("</plan>")
        self._goals = {goal.name: position for position, goal in enumerate(ask.context.goals)}
        self._weights = goal_weights([goal.optional for goal in ask.context.goals])
        self._trunk = Run(None, prompt, ())
        self._waiting = [self._trunk]
        self._fresh: list[Place] = []
        self.root = self._made(None, mask.start(), self._vocabulary.id("<plan>"))

    def after(self, place: Place, token: int) -> Place:
        """Return where `token` leads from a place, new or known.

        Raises:
            ValueError: the mask does not allow it.
        """
        found = place.next.get(token)
        if found is None:
            found = place.next[token] = self._made(place, place.state, token)
        return found

    def follow(self, ids: Sequence[int]) -> Place | None:
        """Return the place at which a whole plan ends; None if the mask does not allow it, or it is too long."""
        place = self.root
        while place.ids == tuple(ids[: len(place.ids)]) and not place.lost:
            if place.plan is not None:
                return place
            try:
                place = self.after(place, ids[len(place.ids)])
            except ValueError:
                return None
        return None

    def beside(self, plan: Plan) -> tuple[Run, Told] | None:
        """Return a run with a plan that the mask does not allow, and what is known of it; None if the tokens cannot."""
        try:
            told = self.ask.tell(plan)
        except (PlanError, KeyError, ValueError):
            return None
        spelled = self._narrator.spell(told.ids, told.steps, told.outputs, range(len(self.ask.request.registry)))
        run = Run(self._trunk, spelled.ids, spelled.read)
        if run.end > self._last:
            return None
        self._waiting.append(run)
        return run, told

    def waiting(self) -> Sequence[Run]:
        """Return the runs that must be computed before anything can be chosen; none: all is done."""
        return tuple(self._waiting)

    def computed(self) -> None:
        """Go on after the logits of all that was `waiting` were filled in."""
        for place in self._fresh:
            if place.plan is None:
                self._open(place)
        self._waiting, self._fresh = [], []

    def rating(self, run: Run, told: Told) -> Rating:
        """Return what the model read at the outputs of a plan, weighed as the score is, and corrected."""
        outputs = told.outputs
        assert run.logits is not None
        logits = run.logits[:, len(self._vocabulary) :]
        share = np.array([self._weights[output.goal] for output in outputs])
        composed = np.array([output.score for output in outputs])
        levels = np.exp(logits - logits.max(axis=1, keepdims=True))
        levels /= levels.sum(axis=1, keepdims=True)
        mean = levels @ _LEVELS
        variance = np.maximum(levels @ _LEVELS**2 - mean**2, 0.0)
        quality = share @ (composed + self._trust * mean) + (0.0 if self._correct is None else self._correct(told))
        # not clipped to [0, 1], as in training and in `PolicyChooser`: of two good plans the one that is rated 1.05 is
        # likelier to be the better one than that rated 1.01, and clipping would leave the choice to their prices
        return Rating(float(quality), math.sqrt(share**2 @ variance))

    def steps_of(self, place: Place) -> tuple[Step, ...]:
        """Return the steps of a plan that are decided at a place."""
        if place.plan is not None:
            return place.plan.steps
        return self._closed(place.ids).steps if self._end in place.ids else ()

    def _closed(self, ids: tuple[int, ...]) -> Plan:
        """The steps that are whole in the ids, as a plan; outputs say nothing of steps, so it has none."""
        cut = len(ids) - tuple(reversed(ids)).index(self._end)
        return decode_ids((*ids[:cut], self._close), self.ask.context)

    def _made(self, before: Place | None, state: State, token: int) -> Place:
        """The place after `token` and all that is forced behind it."""
        state, forced = self._mask.advance(state, token)
        chosen = (token, *forced)
        ids = chosen if before is None else before.ids + chosen
        steps = () if before is None else before.steps
        if self._end in chosen:
            steps = self.ask.composer.steps(self._closed(ids))
        spelled = self._spelled(chosen, 0 if before is None else len(before.steps), steps)
        plan, read = None, [len(spelled) - 1]
        told: tuple[KnownOutput, ...] = ()
        if self._mask.finished(state):
            plan = decode_ids(ids, self.ask.context)
            told = self.ask.composer.outputs(plan, self._goals)
            tail, read = self._narrator.after_plan(told)
            read = [len(spelled) + place for place in read]
            spelled += tail
        run = Run(self._trunk if before is None else before.run, spelled, read)
        place = Place(before, token, run, state, ids, steps, plan, told)
        if run.end > self._last:
            place.lost = True
        else:
            self._waiting.append(run)
            self._fresh.append(place)
        return place

    def _spelled(self, chosen: Iterable[int], closed: int, steps: Sequence[KnownStep]) -> list[int]:
        """Plan tokens in the model's ids, with what is told after tools and steps."""
        found: list[int] = []
        for token in chosen:
            found.append(self._tokens.plan_ids[token])
            if token >= self._first_tool:
                found += self._narrator.after_tool(token - self._first_tool)
            elif token == self._end:
                closed += 1
                found += self._narrator.after_step(steps[:closed])
        return found

    def _open(self, place: Place) -> None:
        """Fill in what may be chosen at a computed place, and how likely it is."""
        assert place.run.logits is not None
        size = len(self._vocabulary)
        bits = np.frombuffer(place.state.mask.to_bytes((size + 7) // 8, "little"), dtype=np.uint8)
        place.choices = np.flatnonzero(np.unpackbits(bits, bitorder="little"))
        logits = place.run.logits[0, place.choices]
        shifted = logits - logits.max()
        place.logp = shifted - math.log(np.exp(shifted).sum())


_LEVELS = np.array(QUALITY_LEVELS)


class Search(Protocol):
    """Decides how plans go on."""

    def advance(self, places: Places) -> None:
        """Choose as long as everything needed is computed."""
        ...

    def found(self) -> Sequence[Place]:
        """The places at which its plans end."""
        ...

    def open(self) -> Sequence[Place]:
        """The places at which its plans will go on."""
        ...


class Walk:
    """One plan, token by token: the likeliest one, or drawn at a temperature by a generator of its own."""

    def __init__(self, root: Place, random: np.random.Generator | None = None, temperature: float = 1.0) -> None:
        self._place, self._random, self._temperature = root, random, temperature

    def advance(self, places: Places) -> None:
        """Choose as long as the next place is known."""
        while self._place.ready:
            self._place = places.after(self._place, int(self._place.choices[self._choose()]))

    def found(self) -> Sequence[Place]:
        """The end of the plan."""
        return (self._place,)

    def open(self) -> Sequence[Place]:
        """Where the plan goes on, if it does."""
        return () if self._place.plan is not None or self._place.lost else (self._place,)

    def _choose(self) -> int:
        logp = self._place.logp
        if self._random is None:
            return int(np.argmax(logp))
        weights = np.exp((logp - logp.max()) / self._temperature)
        share = np.cumsum(weights)
        # below the last bound even if the draw rounds up to it
        return min(int(np.searchsorted(share, self._random.random() * share[-1], side="right")), len(logp) - 1)
