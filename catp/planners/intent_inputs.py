"""Which input a result is to come from, where a request is given several."""

import re
from collections.abc import Mapping
from dataclasses import replace

from catp.planlang.registry_view import RegistryView, ValueFacts
from catp.planlang.types import Type
from catp.planners.intent_text import Match, RequestText
from catp.planners.protocol import Wanted

__all__ = ["InputChoice", "holds"]


def holds(type_: Type, name: str) -> bool:
    """True if a value is of the named type, or a list of such values."""
    return type_.name == name or (type_.item is not None and type_.item.name == name)


class InputChoice:
    """Says of each wanted result which input it is about; `notes` tells where the request did not say.

    Args:
        inputs: What is known of the inputs, by name.
        registry: The catalogue: an input named like a side parameter of a tool is nothing to be worked on.
        words: The request.
    """

    def __init__(self, inputs: Mapping[str, ValueFacts], registry: RegistryView, words: RequestText) -> None:
        self._inputs, self._registry, self._words = inputs, registry, words
        self.notes: list[str] = []

    def place(self, want: Wanted, match: Match, needs: str) -> list[tuple[Wanted, str]]:
        """Say which input a result is to come from, once per input where several would do."""
        main = {n: f for n, f in self._inputs.items() if not self.side(n)} or dict(self._inputs)
        fitting = [n for n, f in main.items() if not needs or holds(f.type, needs)] or list(main)
        if len(main) <= 1 or len(fitting) == 0:
            return [(want, next(iter(main), ""))]
        named = [n for n in fitting if self._mentions(n, match)]
        if not named and self._reads_image() and not needs:
            named = [n for n in fitting if holds(main[n].type, "image")]
        chosen = named or fitting
        if len(chosen) == 1:
            return [(replace(want, source=chosen[0]), chosen[0])]
        note = f"the request does not say which of {', '.join(chosen)} it is about: all of them"
        if not named and note not in self.notes:
            self.notes.append(note)
        return [(replace(want, name=f"{name}_{want.name}", source=name), name) for name in chosen]

    def _mentions(self, name: str, match: Match) -> bool:
        """True if the sentence of `match` names the input, or nothing but this input is named anywhere."""
        start = max((m.end() for m in re.finditer(r"[.;!?\n]", self._words.text[: match.start])), default=0)
        stop = re.search(r"[.;!?\n]", self._words.text[match.end :])
        sentence = self._words.text[start : match.end + stop.start() if stop else len(self._words.text)]
        return any(re.search(rf"\b{re.escape(w)}\b", sentence) for w in {name.lower(), name.lower().replace("_", " ")})

    def _reads_image(self) -> bool:
        return any(m.rule.capability == ("ocr",) for m in self._words.matches())

    def side(self, name: str) -> bool:
        """True if an input is named like a side parameter (`question`) of some tool."""
        return any(
            p.name == name and p.name != p.type.name and (not p.required or sum(q.required for q in sig.params) > 1)
            for sig in self._registry
            for p in sig.params
        )
