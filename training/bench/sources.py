"""Where inputs come from: seeded draws of recipes, damaged or sized so that the right tools depend on the input.

About a fifth of all pictures are clean; the rest are noisy, specked, blurred, small, or several of these, from light to
hopeless. Test inputs of the split by inputs use photographs, faces and payloads that no other input uses.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from catp.tools.bench.damage import Random
from catp.training.bench.passages import LANGUAGES, PRINTED
from catp.training.bench.recipes import PHOTOS, Recipe

__all__ = ["LATIN", "SOURCES", "Side", "Source"]

Side: TypeAlias = Literal["train", "val", "test"]

Source: TypeAlias = Callable[[Random, Side, Mapping[str, Recipe]], Recipe]
"""Draws a recipe; the third argument holds the recipes of the task's earlier inputs."""

LATIN = PRINTED
"""Languages of printed pages: the readers know Latin letters."""

_FONTS = ("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "DejaVuSans-Bold.ttf")
_NAMES = tuple(PHOTOS)
_HELD_OUT_PHOTOS = ("coffee", "motorcycle_left", "moon", "flower")
_SEEDS = 10**9


def _uniform(random: Random, low: float, high: float, digits: int = 1) -> float:
    return round(float(random.uniform(low, high)), digits)


def _pick(random: Random, items: Any) -> Any:
    return items[int(random.integers(len(items)))]


def _passage(random: Random, kind: str, language: str = "en") -> dict[str, Any]:
    return {"kind": kind, "seed": int(random.integers(_SEEDS)), "language": language}


def damage(random: Random) -> list[list[Any]]:
    """Draw what is wrong with a picture: a list of kinds and levels, applied in order."""
    kind = _pick(random, (
        "clean", "clean", "noisy", "noisy", "very_noisy", "specks", "specks", "blurred", "blurred_noisy", "small",
        "small_noisy", "blurred_specks", "hopeless",
    ))  # fmt: skip
    noise, blur = ["noise", _uniform(random, 8, 38)], ["blur", _uniform(random, 1.2, 2.8, 2)]
    specks, small = ["specks", _uniform(random, 0.02, 0.14, 3)], ["shrink", _uniform(random, 0.45, 0.7, 2)]
    return {
        "clean": [], "noisy": [noise], "very_noisy": [["noise", _uniform(random, 45, 95)]], "specks": [specks],
        "blurred": [blur], "blurred_noisy": [blur, noise], "small": [small], "small_noisy": [small, noise],
        "blurred_specks": [["blur", _uniform(random, 0.8, 1.5, 2)], specks],
        "hopeless": [["blur", _uniform(random, 2.8, 4.5, 2)], ["noise", _uniform(random, 40, 90)]],
    }[kind]  # fmt: skip


def page(kind: str = "brief", languages: tuple[str, ...] = ("en",), most: int = 20) -> Source:
    """A printed page of one passage; `most` is the largest print in pixels."""

    def draw(random: Random, side: Side, others: Mapping[str, Recipe]) -> Recipe:
        return _printed(random, {"passage": _passage(random, kind, _pick(random, languages))}, most)

    return draw


def _printed(random: Random, content: Mapping[str, Any], most: int = 20) -> Recipe:
    style = {"font": _pick(random, _FONTS), "size": int(random.integers(13, most + 1)),
             "columns": int(random.integers(24, 40))}  # fmt: skip
    return {"kind": "page", **content, "style": style, "damage": damage(random), "seed": int(random.integers(_SEEDS))}


def same_or_other_page(random: Random, side: Side, others: Mapping[str, Recipe]) -> Recipe:
    """A page that says the same as the first input, or (half of the time) something else."""
    same = random.random() < 0.5
    return _printed(random, {"passage": others["page"]["passage"] if same else _passage(random, "brief")})


def same_or_other_text(random: Random, side: Side, others: Mapping[str, Recipe]) -> Recipe:
    """A text that says the same as the first input, perhaps misspelt, or something else."""
    first = next(iter(others.values()))["passage"]
    chosen = first if random.random() < 0.5 else _passage(random, first["kind"])
    return _spelt(random, chosen)


def question_on_paper(random: Random, side: Side, others: Mapping[str, Recipe]) -> Recipe:
    """A note with a question about the first page."""
    return _printed(random, {"passage": others["page"]["passage"], "number": int(random.integers(2))})


def question(about: str) -> Source:
    """A question about the passage of another input."""

    def draw(random: Random, side: Side, others: Mapping[str, Recipe]) -> Recipe:
        most = 2 if others[about]["kind"] == "page" else 4
        return {"kind": "question", "passage": others[about]["passage"], "number": int(random.integers(most))}

    return draw


def _spelt(random: Random, passage: Mapping[str, Any]) -> Recipe:
    mistakes = 0.0 if random.random() < 0.5 else _uniform(random, 0.01, 0.14, 3)
    return {"kind": "text", "passage": passage, "mistakes": mistakes, "seed": int(random.integers(_SEEDS))}


def text(*kinds: str, languages: tuple[str, ...] = ("en",)) -> Source:
    """A text of one of several kinds, half of the time with spelling mistakes."""

    def draw(random: Random, side: Side, others: Mapping[str, Recipe]) -> Recipe:
        return _spelt(random, _passage(random, _pick(random, kinds), _pick(random, languages)))

    return draw


def many(source: Source, low: int, high: int) -> Source:
    """A list of inputs of one kind, all damaged alike as one scanner or writer would: the same kind of trouble."""

    def draw(random: Random, side: Side, others: Mapping[str, Recipe]) -> Recipe:
        items = [dict(source(random, side, others)) for _ in range(int(random.integers(low, high + 1)))]
        for item in items[1:]:
            item.update({key: items[0][key] for key in ("damage", "mistakes") if key in items[0]})
        return {"kind": "list", "items": items}

    return draw


def odd(source: Source) -> Source:
    """A list of three or five, so that one mood can win."""

    def draw(random: Random, side: Side, others: Mapping[str, Recipe]) -> Recipe:
        count = 3 if random.random() < 0.6 else 5
        return many(source, count, count)(random, side, others)

    return draw


def _scene(random: Random, side: Side, low: int, high: int) -> dict[str, Any]:
    names = [name for name in _NAMES if (name in _HELD_OUT_PHOTOS) == (side == "test")]
    box = int(random.integers(200, 480))
    x, y = (int(random.integers(0, 512 - box + 1)) for _ in range(2))
    size = 2 * int(random.integers(low // 2, high // 2 + 1))
    return {"photo": _pick(random, names), "box": [x, y, box], "size": size, "seed": int(random.integers(_SEEDS))}


def photo(random: Random, side: Side, others: Mapping[str, Recipe]) -> Recipe:
    """A damaged part of a photograph; not made smaller, so that it can be compared with the original."""
    found = [item for item in damage(random) if item[0] != "shrink"]
    return {"kind": "photo", **_scene(random, side, 112, 208), "damage": found}


def small_photo(random: Random, side: Side, others: Mapping[str, Recipe]) -> Recipe:
    """A small picture to be enlarged, noisy in half of the cases."""
    noise = [["noise", _uniform(random, 5, 35)]] if random.random() < 0.5 else []
    return {"kind": "photo", **_scene(random, side, 64, 112), "damage": noise}


def blurred_photo(random: Random, side: Side, others: Mapping[str, Recipe]) -> Recipe:
    """A blurred photograph, with more or less noise."""
    noise = [["noise", _uniform(random, 3, 30)]] if random.random() < 0.6 else []
    blur = ["blur", _uniform(random, 0.8, 3.0, 2)]
    return {"kind": "photo", **_scene(random, side, 112, 208), "damage": [blur, *noise]}


def label(random: Random, side: Side, others: Mapping[str, Recipe]) -> Recipe:
    """A photograph with a QR code stuck on it; held-out payloads are of another kind."""
    number = int(random.integers(10**6))
    payload = _pick(random, (f"https://example.org/parcel/{number}", f"lot {number:06d}", f"tel:+4420{number:07d}"))
    if side == "test":
        payload = _pick(random, (f"INV-{number:06d}-B", f"geo:{number % 90}.5,{number % 180}.25"))
    scene = _scene(random, side, 168, 248)
    module = int(random.integers(2, 4))
    free = scene["size"] - 41 * module  # codes of these payloads are at most 35 modules wide, borders included
    at = [int(random.integers(0, max(1, free))) for _ in range(2)]
    return {"kind": "code", **scene, "payload": payload, "module": module, "at": at, "damage": damage(random)}


_DESERTED = {"astronaut": "chelsea", "grace_hopper": "coins", "camera": "rocket"}
"""What stands in for photographs that show people, where faces are to be found."""


def people(random: Random, side: Side, others: Mapping[str, Recipe]) -> Recipe:
    """Up to three faces in a photograph without any, side by side; held-out faces for the test side."""
    scene = _scene(random, side, 232, 312)
    scene["photo"] = _DESERTED.get(scene["photo"], scene["photo"])
    count, width = int(random.integers(1, 4)), scene["size"] // 3
    faces = []
    for place in range(count):
        size = int(random.integers(48, width - 4))
        number = int(random.integers(75, 100) if side == "test" else random.integers(0, 75))
        x = place * width + int(random.integers(0, width - size))
        faces.append([number, x, int(random.integers(0, scene["size"] - size)), size])
    return {"kind": "faces", **scene, "faces": faces, "damage": damage(random)}


SOURCES: Mapping[str, Source] = {
    "page": page(), "foreign_page": page(languages=LATIN), "long_page": page(most=16), "note": question_on_paper,
    "page_again": same_or_other_page, "text_again": same_or_other_text,
    "question_page": question("page"), "question_text": question("text"),
    "text": text("report", "brief", "review"), "review": text("review"), "report": text("report"),
    "brief": text("brief"), "any_language": text("call", "foreign", languages=LANGUAGES),
    "pages": many(page(), 2, 3), "foreign_pages": many(page(languages=LATIN), 2, 3), "mood_pages": odd(page()),
    "texts": many(text("review", "brief"), 2, 4), "reviews": odd(text("review")),
    "calls": many(text("call", "foreign", languages=LANGUAGES), 2, 5),
    "photo": photo, "small_photo": small_photo, "blurred_photo": blurred_photo, "label": label,
    "labels": many(label, 2, 4), "people": people,
}  # fmt: skip
