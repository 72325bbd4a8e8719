"""What a task can ask for: the type of each result, which tools may make it, how it is scored, and what is true.

A want is one output of a task: `Want("language", "page")` is the language of what is written on the page. Truths come
from the recipe of its source: the passage that was printed, the payload that was encoded, the picture before it was
damaged.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from catp.planlang.types import Type, list_of
from catp.planners.protocol import Wanted
from catp.training.bench.recipes import Recipe, make, passage_of, undamaged

__all__ = ["KINDS", "OutputKind", "Want", "truth_of"]


@dataclass(frozen=True, slots=True)
class OutputKind:
    """A kind of result: plan type, what the tool that makes it is for, the metric, and steps that must come before."""

    type: str
    capability: tuple[str, ...]
    metric: str
    through: tuple[tuple[str, ...], ...] = ()


KINDS: Mapping[str, OutputKind] = {
    "text": OutputKind("text", ("ocr",), "cer"),
    "careful": OutputKind("text", ("vote",), "cer"),
    "corrected": OutputKind("text", ("spelling",), "cer"),
    "language": OutputKind("Language", ("language",), "exact"),
    "sentiment": OutputKind("Sentiment", ("sentiment",), "exact"),
    "phrases": OutputKind("KeyPhrases", ("phrases",), "word_f1"),
    "entities": OutputKind("Entities", ("entities",), "set_f1"),
    "summary": OutputKind("Summary", ("summary",), "rouge_l"),
    "answer": OutputKind("Answer", ("answer",), "answer"),
    "combined": OutputKind("Combined", ("combine",), "cer"),
    "tally": OutputKind("Tally", ("tally",), "exact"),
    "match": OutputKind("Match", ("match",), "exact"),
    "clean": OutputKind("image", ("denoise",), "ssim"),
    "sharp": OutputKind("image", ("deblur",), "ssim"),
    "large": OutputKind("image", ("upscale",), "ssim"),
    "codes": OutputKind("Codes", ("codes",), "set_f1"),
    "faces": OutputKind("Faces", ("faces",), "boxes_f1"),
    "stats": OutputKind("ImageStats", ("image_stats",), "stats"),
}

OPTIONAL_WEIGHT = 0.5
"""An optional output counts half as much as a required one."""


@dataclass(frozen=True, slots=True)
class Want:
    """One wanted output. `sources` are inputs it is about; `many` asks for one result per element of a list."""

    what: str
    sources: tuple[str, ...]
    many: bool = False
    optional: bool = False

    @property
    def name(self) -> str:
        """The name of the output in plans."""
        return self.what

    @property
    def kind(self) -> OutputKind:
        """What kind of result it is."""
        return KINDS[self.what]

    @property
    def type(self) -> Type:
        """Its type in plans."""
        return list_of(Type(self.kind.type)) if self.many else Type(self.kind.type)

    @property
    def weight(self) -> float:
        """Its share in the task's score, before shares are made to add up to 1."""
        return OPTIONAL_WEIGHT if self.optional else 1.0

    def wanted(self) -> Wanted:
        """Return it as planners are asked for it."""
        source = self.sources[0] if len(self.sources) == 1 else ""
        return Wanted(self.name, self.type, self.optional, self.kind.capability, source, (), self.kind.through)


def truth_of(want: Want, recipes: Mapping[str, Recipe]) -> Any:
    """Return what is true of a want's sources, as JSON; for pictures `{"recipe": ...}`."""
    recipe = recipes[want.sources[0]]
    if recipe["kind"] == "list":
        items = [{**recipes, want.sources[0]: item} for item in recipe["items"]]
        one = Want(want.what if want.many else "sentiment", want.sources)
        found = [truth_of(one, item) for item in items]
        return found if want.many else _majority(found)
    return _TRUTHS[want.what](want, recipes)


def _majority(labels: list[str]) -> str:
    """The most frequent label; a tie is neutral, as the overall mood of praise and complaint is."""
    (label, most), *rest = Counter(labels).most_common(2)
    return "neutral" if rest and rest[0][1] == most else label


def _passage(want: Want, recipes: Mapping[str, Recipe]) -> Any:
    return passage_of(recipes[want.sources[0]])


def _text(want: Want, recipes: Mapping[str, Recipe]) -> str:
    recipe = recipes[want.sources[0]]
    found = passage_of(recipe)
    return found.questions[recipe["number"]][0] if "number" in recipe else found.text


def _answer(want: Want, recipes: Mapping[str, Recipe]) -> str:
    question = recipes[want.sources[1]]
    return passage_of(question).questions[question["number"]][1]


def _both(recipes: Mapping[str, Recipe], want: Want) -> list[Any]:
    return [passage_of(recipes[name]) for name in want.sources]


def _summary(want: Want, recipes: Mapping[str, Recipe]) -> str:
    return " ".join(found.summary or "" for found in _both(recipes, want))


def _phrases(want: Want, recipes: Mapping[str, Recipe]) -> list[str]:
    return [phrase for found in _both(recipes, want) for phrase in found.phrases or ()]


def _match(want: Want, recipes: Mapping[str, Recipe]) -> bool:
    first, second = (recipes[name]["passage"] for name in want.sources)
    return bool(first == second)


def _picture(want: Want, recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
    return {"recipe": undamaged(recipes[want.sources[0]], 2 if want.what == "large" else 1)}


def _faces(want: Want, recipes: Mapping[str, Recipe]) -> list[dict[str, float]]:
    recipe = recipes[want.sources[0]]
    scale = make(recipe).width / recipe["size"]
    return [{"x": x * scale, "y": y * scale, "w": side * scale, "h": side * scale} for _, x, y, side in recipe["faces"]]


def _stats(want: Want, recipes: Mapping[str, Recipe]) -> dict[str, float]:
    import numpy as np

    image = make(recipes[want.sources[0]])
    grey = np.asarray(image.convert("L"), dtype=np.float64)
    return {"width": image.width, "height": image.height, "mean": float(grey.mean()), "contrast": float(grey.std())}


_TRUTHS = {
    "text": _text, "careful": _text, "corrected": _text,
    "combined": lambda want, recipes: " ".join(found.text for found in _both(recipes, want)),
    "language": lambda want, recipes: _passage(want, recipes).language,
    "sentiment": lambda want, recipes: _passage(want, recipes).sentiment,
    "entities": lambda want, recipes: [list(pair) for pair in _passage(want, recipes).entities],
    "phrases": _phrases, "summary": _summary, "answer": _answer, "match": _match,
    "clean": _picture, "sharp": _picture, "large": _picture,
    "codes": lambda want, recipes: [recipes[want.sources[0]]["payload"]],
    "faces": _faces, "stats": _stats,
}  # fmt: skip
