"""A plan as the policy writes it: plan tokens, and between them forced tokens that tell what is known.

    <tK>     the tool's name                              what was chosen, where it matters
    <end>    <$> of the call's price over the scale, <acc> of the composed score;
             <budget> <$> what is left of it, <return> <Q> what is still to be reached (if the prompt had them)
    </plan>  <score>, then per output <oK>, what looks at its inputs say, the names of the tools it is made by, <acc>
             of the composed score: there the policy's distribution over <Q0>..<Q40> is read, how far the score will be
             from the composed one

Forced tokens are never sampled and never part of the plan; an engine appends them without a decision.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from catp.training.prompt.known import KnownOutput, KnownStep
from catp.training.prompt.render import Renderer
from catp.training.prompt.view import Objectives

__all__ = ["Charge", "Narrator", "Spelled"]

Charge: TypeAlias = Callable[[Sequence[KnownStep]], float]
"""How much of the return the steps so far have used up, nano-USD."""


def _spent(steps: Sequence[KnownStep]) -> float:
    return sum(step.price or 0.0 for step in steps)


@dataclass
class Spelled:
    """A plan in the model's ids. `chosen` are positions of plan tokens, `read` those at which quality is read."""

    ids: list[int] = field(default_factory=list)
    chosen: list[int] = field(default_factory=list)
    read: list[int] = field(default_factory=list)


class Narrator:
    """Says what is known, in forced tokens.

    Args:
        renderer: writes names and buckets.
        objectives: what prices are told relative to, and what of budget and target is left.
        names: the tools' names as the prompt has them, by tool position.
        charge: of the return; by default the steps' price.
    """

    def __init__(
        self, renderer: Renderer, objectives: Objectives, names: Sequence[str],
        charge: Charge | None = None,
    ) -> None:  # fmt: skip
        self._tokens = renderer.tokens
        self._objectives = objectives
        self._names = [renderer.name(name) for name in names]
        self._charge = charge or _spent

    def after_tool(self, tool: int) -> tuple[int, ...]:
        """Return what follows a slot token."""
        return self._names[tool]

    def after_step(self, steps: Sequence[KnownStep]) -> list[int]:
        """Return what follows the `<end>` of the last of `steps`."""
        tokens, objectives, last = self._tokens, self._objectives, steps[-1]
        share = None if last.price is None else last.price / objectives.scale
        found = [tokens.bucket("$", share), tokens.bucket("acc", last.score)]
        if objectives.budget is not None:
            left = max(objectives.budget - _spent(steps), 0.0)
            found += [tokens.mark("<budget>"), tokens.bucket("$", left / objectives.scale)]
        if objectives.target is not None:
            to_go = objectives.target + (1 - objectives.alpha) * self._charge(steps) / objectives.scale
            found += [tokens.mark("<return>"), tokens.bucket("Q", to_go)]
        return found

    def after_plan(self, outputs: Sequence[KnownOutput]) -> tuple[list[int], list[int]]:
        """Return what follows `</plan>` and the places in it at which quality is read, one per output."""
        tokens = self._tokens
        found, read = [tokens.mark("<score>")], []
        for output in outputs:
            found.append(tokens.mark(f"<o{output.goal}>"))
            for look in output.conditions:
                found += tokens.text(look)
            for tool in output.chain:
                found += self._names[tool]
            found.append(tokens.bucket("acc", output.score))
            read.append(len(found) - 1)
        return found, read

    def spell(
        self, plan_ids: Sequence[int], steps: Sequence[KnownStep], outputs: Sequence[KnownOutput],
        slots: Sequence[int],
    ) -> Spelled:  # fmt: skip
        """Spell a whole plan whose ids name tools by position; `slots` holds the slot of each."""
        tokens = self._tokens
        vocabulary = tokens.vocabulary
        first_tool, end = vocabulary.span("t").start, vocabulary.id("<end>")
        found, closed = Spelled(), 0
        for number in plan_ids:
            tool = number - first_tool
            found.chosen.append(len(found.ids))
            found.ids.append(tokens.plan_ids[number if tool < 0 else first_tool + slots[tool]])
            if tool >= 0:
                found.ids += self.after_tool(tool)
            elif number == end:
                closed += 1
                found.ids += self.after_step(steps[:closed])
        tail, read = self.after_plan(outputs)
        found.read = [len(found.ids) + place for place in read]
        found.ids += tail
        return found
