"""A plan as the policy writes it: plan tokens, and between them forced tokens that tell what is known.

    <tK>     the tool's name                              what was chosen, where it matters
    <end>    <$> of the call's price over the scale, <acc> of the composed score;
             <budget> <$> what is left of it, <return> <Q> what is still to be reached (if the prompt had them)
    </plan>  <score>, then per output <oK> <acc>          at <acc>: the policy's distribution over <Q0>..<Q40>, how far
                                                           the score will be from the composed one

Forced tokens are never sampled and never part of the plan; an engine appends them without a decision.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from catp.training.prompt.known import KnownStep
from catp.training.prompt.render import Renderer
from catp.training.prompt.view import Objectives

__all__ = ["Narrator", "Spelled"]


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
    """

    def __init__(self, renderer: Renderer, objectives: Objectives, names: Sequence[str]) -> None:
        self._tokens = renderer.tokens
        self._objectives = objectives
        self._names = [renderer.name(name) for name in names]

    def after_tool(self, tool: int) -> tuple[int, ...]:
        """Return what follows a slot token."""
        return self._names[tool]

    def after_step(self, steps: Sequence[KnownStep]) -> list[int]:
        """Return what follows the `<end>` of the last of `steps`."""
        tokens, objectives, last = self._tokens, self._objectives, steps[-1]
        share = None if last.price is None else last.price / objectives.scale
        found = [tokens.bucket("$", share), tokens.bucket("acc", last.score)]
        spent = sum(step.price or 0.0 for step in steps)
        if objectives.budget is not None:
            left = max(objectives.budget - spent, 0.0)
            found += [tokens.mark("<budget>"), tokens.bucket("$", left / objectives.scale)]
        if objectives.target is not None:
            to_go = objectives.target + (1 - objectives.alpha) * spent / objectives.scale
            found += [tokens.mark("<return>"), tokens.bucket("Q", to_go)]
        return found

    def after_plan(self, outputs: Sequence[tuple[int, float]]) -> tuple[list[int], list[int]]:
        """Return what follows `</plan>` and the places in it at which quality is read, one per output.

        Args:
            outputs: for every output, its position among the wanted ones and its composed score.
        """
        tokens = self._tokens
        found, read = [tokens.mark("<score>")], []
        for goal, score in outputs:
            found += [tokens.mark(f"<o{goal}>"), tokens.bucket("acc", score)]
            read.append(len(found) - 1)
        return found, read

    def spell(
        self, plan_ids: Sequence[int], steps: Sequence[KnownStep], outputs: Sequence[tuple[int, float]],
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
