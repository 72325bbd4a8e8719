"""One request being written: what is spelled, searched and rated, whoever computes it.

    session = Speller(policy).session(request, shown, samples=4)
    while runs := session.waiting():   # fill in `run.logits` of each: in process by `TokenTree`, or by an engine
        session.computed()
    session.draft(usage)

Prompts and plans are spelled as in training (`catp.training.prompt`), with one thing that is not in every request: the
price that weighs as much as quality 1. It is the objective's `price_scale`; else three times the composed price of the
cheapest plan shown, a first guess at the price of a plan that is about as good as any; else the median price of a call.
"""

from collections.abc import Callable, Sequence

import numpy as np

from catp.planlang.errors import PlanError
from catp.planlang.mask.automaton import PlanMask
from catp.planlang.mask.context import Infeasible
from catp.planlang.nodes import Plan, Step
from catp.planners.protocol import NothingFits, PlanningFailed, PlanRequest
from catp.planners.writer import Draft, Rating, Unwritable, Usage, Written
from catp.training.critic.features import PlanFeatures
from catp.training.policy.beam import Beams
from catp.training.policy.checkpoint import Policy
from catp.training.policy.decode import MAX_TOKENS, Place, Places, Search, Walk
from catp.training.policy.offer import check_spellable, offered
from catp.training.policy.tree import Run
from catp.training.prompt.ask import Ask, Told
from catp.training.prompt.form import Narrator
from catp.training.prompt.render import Renderer
from catp.training.prompt.view import Objectives, RequestView

__all__ = ["Session", "Speller"]

_DEAR = 3.0
"""A guess: what a plan about as good as any costs, over the cheapest one."""


class Session:
    """The plans of one request under way: a greedy one, sampled ones (a generator each), beams, and plans to rate.

    Args:
        places: of the request.
        shown: plans to rate.
        samples: how many plans to sample.
        beams: width of a beam search, 0 for none.
        seed: decides what is sampled.
        temperature: of sampling, above 0.
        length: of `Beams`.
    """

    def __init__(
        self, places: Places, shown: Sequence[Plan], *, samples: int, beams: int, seed: int, temperature: float,
        length: float,
    ) -> None:  # fmt: skip
        self.places = places
        self._ends = [_shown(places, plan) for plan in shown]
        self._searches: list[Search] = [Walk(places.root)]
        self._searches += [
            Walk(places.root, np.random.default_rng([seed, number]), temperature) for number in range(samples)
        ]
        self._told = [0] * len(self._searches)
        if beams:
            self._searches.append(Beams(places.root, beams, length))

    @property
    def prompt(self) -> Sequence[int]:
        """The tokens all plans follow; they are the first run."""
        return self.places.prompt

    @property
    def room(self) -> int:
        """Most tokens of a plan, forced ones included."""
        return self.places.room

    def waiting(self) -> Sequence[Run]:
        """Return the runs to compute next, parents before children; none: the draft is ready."""
        return self.places.waiting()

    def computed(self) -> None:
        """Go on after `logits` of every waiting run were filled in."""
        self.places.computed()
        for search in self._searches:
            search.advance(self.places)

    def open(self) -> Sequence[Place]:
        """Return the places at which plans will go on; runs to come follow these."""
        return [place for search in self._searches for place in search.open()]

    def decided(self) -> list[tuple[int, int, Step]]:
        """Return the steps decided since the last call: number of the plan (0 the greedy one, then the sampled ones in
        order), number of the step, and the step. They will not change."""
        found = []
        for number, walk in enumerate(self._searches[: len(self._told)]):
            (place,) = walk.found()
            if len(place.steps) > self._told[number]:
                steps = self.places.steps_of(place)
                found += [(number, at, steps[at]) for at in range(self._told[number], len(steps))]
                self._told[number] = len(steps)
        return found

    def draft(self, usage: Usage) -> Draft:
        """Return the distinct plans that were finished, the greedy one first, and the ratings of those shown."""
        rated = tuple(None if end is None else self.places.rating(*end) for end in self._ends)
        return Draft(_written(self.places, self._searches), rated, usage)


class Speller:
    """Spells requests for a policy."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._renderer = Renderer(policy.tokens, policy.manifest.prompt.style)

    def session(
        self, request: PlanRequest, shown: Sequence[Plan] = (), *, samples: int = 8, beams: int = 0, seed: int = 0,
        temperature: float = 1.0, length: float = 0.0,
    ) -> Session:  # fmt: skip
        """Return the session of a request; see `PlanWriter.write`.

        Raises:
            Unwritable: the request does not fit this policy.
            NothingFits, PlanningFailed: no valid plan exists within the budget.
        """
        return Session(
            self._places(request, shown), shown, samples=samples, beams=beams, seed=seed, temperature=temperature,
            length=length,
        )  # fmt: skip

    def _places(self, request: PlanRequest, shown: Sequence[Plan]) -> Places:
        """Spell the request out.

        Raises:
            Unwritable, NothingFits, PlanningFailed: as `PlanWriter.write`.
        """
        vocabulary = self.policy.tokens.vocabulary
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
        most = self.policy.model.config.max_position_embeddings
        room = min(MAX_TOKENS, most - len(prompt))
        if room < MAX_TOKENS // 4:
            raise Unwritable(
                f"the request takes {len(prompt)} tokens, and the policy reads {most} in all; offer fewer tools"
            )
        narrator = Narrator(self._renderer, objectives, [tool.name for tool in ask.view.tools])
        return Places(
            ask, mask, narrator, self.policy.tokens, prompt, room, self.policy.manifest.trust,
            self._correction(ask.view),
        )  # fmt: skip

    def _correction(self, view: RequestView) -> Callable[[Told], float] | None:
        forest, share = self.policy.forest, self.policy.manifest.forest
        if forest is None or not share:
            return None
        features = PlanFeatures(view, self.policy.tokens.vocabulary)
        return lambda told: share * float(forest.predict([features.row(told)])[0])


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


def _shown(places: Places, plan: Plan) -> tuple[Run, Told] | None:
    """Have a plan computed that is to be rated; None if the policy cannot spell it."""
    try:
        end = places.follow(places.ask.tell(plan).ids)
    except (PlanError, KeyError, ValueError):
        return None
    return places.beside(plan) if end is None else (end.run, _told(end))


def _told(end: Place) -> Told:
    return Told(end.ids, end.steps, end.told)


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
        rating: Rating = places.rating(place.run, _told(place))
        found.append(Written(place.plan, float(sum(place.chances)), rating))
    return tuple(found)
