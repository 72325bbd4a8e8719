"""The prompt: a request as token ids.

    <catp:tools>      per tool: <tK> name (param types <arrow> type) description <$> <ms> <acc> <ok>
    <catp:inputs>     per input: <iK> type condition <sz> and, of lists, the number of elements as another <sz>
    <catp:goals>      per wanted output: <oK> type purpose, <iK> if it must come from that input, <?> if optional
    <catp:request>    the words
    <catp:objective>  <alpha> <$> of the price scale, <ms> of the deadline, <budget> <$>, <return> <Q>

Prices in the catalogue are relative to the median of the tools on offer, so that the catalogue part is the same for
every request with the same tools, sizes and conditions, whatever its objective: engines share it as a prefix.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from catp.training.prompt.tokens import PolicyTokens
from catp.training.prompt.view import GoalRow, InputRow, Objectives, RequestView, ToolRow

__all__ = ["PromptStyle", "Renderer"]


@dataclass(frozen=True)
class PromptStyle:
    """How much of each text is shown, in tokens."""

    max_description: int = 6
    max_name: int = 4
    max_request: int = 32


class Renderer:
    """Writes prompts in one model's tokens."""

    def __init__(self, tokens: PolicyTokens, style: PromptStyle) -> None:
        self.tokens, self.style = tokens, style

    def request(self, view: RequestView, slots: Sequence[int], names: Sequence[str] | None = None) -> list[int]:
        """Return everything but the objective.

        Args:
            view: what to show.
            slots: the slot of each tool (distinct); tools are listed by slot.
            names: other names for the tools.
        """
        tokens, mark = self.tokens, self.tokens.mark
        names = names if names is not None else [tool.name for tool in view.tools]
        found = [*tokens.start, mark("<catp:tools>")]
        for place in sorted(range(len(view.tools)), key=lambda k: slots[k]):
            found += self._tool(view.tools[place], slots[place], names[place], view.reference)
        found.append(mark("<catp:inputs>"))
        for place, given in enumerate(view.inputs):
            found += self._input(given, place)
        found.append(mark("<catp:goals>"))
        for place, goal in enumerate(view.goals):
            found += self._goal(goal, place)
        found.append(mark("<catp:request>"))
        return found + list(tokens.text(view.text, self.style.max_request))

    def objective(self, objectives: Objectives, reference: float) -> list[int]:
        """Return the objective's tokens; `reference` is the catalogue's (`RequestView.reference`)."""
        tokens = self.tokens
        found = [
            tokens.mark("<catp:objective>"),
            tokens.bucket("alpha", objectives.alpha),
            tokens.bucket("$", objectives.scale / reference),
            tokens.bucket("ms", objectives.deadline_ms),
        ]
        if objectives.budget is not None:
            found += [tokens.mark("<budget>"), tokens.bucket("$", objectives.budget / objectives.scale)]
        if objectives.target is not None:
            found += [tokens.mark("<return>"), tokens.bucket("Q", objectives.target)]
        return found

    def name(self, name: str) -> tuple[int, ...]:
        """Return a tool's name as it is written in the catalogue and after every use of its slot."""
        return self.tokens.text(name.replace("_", " ").replace(".", " "), self.style.max_name)

    def _tool(self, tool: ToolRow, slot: int, name: str, reference: float) -> list[int]:
        tokens = self.tokens
        found = [tokens.plan_ids[tokens.vocabulary.span("t")[slot]], *self.name(name)]
        for param in tool.params:
            found += tokens.text(param)
        found += [tokens.mark("<arrow>"), *tokens.text(tool.returns)]
        found += tokens.text(tool.description, self.style.max_description)
        return [
            *found,
            tokens.bucket("$", None if tool.price is None else tool.price / reference),
            tokens.bucket("ms", tool.ms),
            tokens.bucket("acc", tool.accuracy),
            tokens.bucket("ok", tool.failure),
        ]

    def _input(self, given: InputRow, place: int) -> list[int]:
        tokens = self.tokens
        found = [tokens.mark(f"<i{place}>"), *tokens.text(given.type), *tokens.text(given.condition)]
        found.append(tokens.bucket("sz", given.units))
        return [*found, tokens.bucket("sz", given.count)] if given.type.startswith("list") else found

    def _goal(self, goal: GoalRow, place: int) -> list[int]:
        tokens = self.tokens
        found = [tokens.mark(f"<o{place}>"), *tokens.text(goal.type), *tokens.text(goal.purpose)]
        if goal.source is not None:
            found.append(tokens.mark(f"<i{goal.source}>"))
        return [*found, tokens.mark("<?>")] if goal.optional else found
