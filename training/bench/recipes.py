"""Recipes: how an input is made, as JSON, so that the data set holds a line instead of a picture.

    {"kind": "page", "passage": {...}, "style": {"font", "size", "columns"}, "damage": [["noise", 31.0]], "seed": 7}
    {"kind": "photo", "photo": "chelsea", "box": [x, y, side], "size": 192, "damage": [...], "seed": 7}
    {"kind": "code", "photo": ..., "payload": "...", "module": 3, "at": [x, y], ...}      a QR code in a photograph
    {"kind": "faces", "photo": ..., "faces": [[crop, x, y, side], ...], ...}               faces in a photograph
    {"kind": "text", "passage": {...}, "mistakes": 0.03, "seed": 7}
    {"kind": "question", "passage": {...}, "number": 1}
    {"kind": "list", "items": [recipe, ...]}

`make` follows a recipe; the same recipe makes the same value with the same packages (`fingerprint` tells). `undamaged`
is the recipe of what a restored picture should look like.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from catp.tools.bench.damage import Random, noisy, specked
from catp.tools.bench.pages import render
from catp.tools.bench.pictures import qr_code
from catp.training.bench.passages import Passage, passage

__all__ = ["PHOTOS", "Recipe", "fingerprint", "make", "passage_of", "undamaged"]

Recipe: TypeAlias = Mapping[str, Any]

PHOTOS: Mapping[str, str] = {
    "astronaut": "skimage", "camera": "skimage", "chelsea": "skimage", "coffee": "skimage", "coins": "skimage",
    "rocket": "skimage", "motorcycle_left": "skimage", "moon": "skimage", "hubble_deep_field": "skimage",
    "retina": "skimage", "ihc": "skimage", "china": "sklearn", "flower": "sklearn", "grace_hopper": "matplotlib",
}  # fmt: skip
"""Pictures inside packages, and in which: scikit-image (BSD, CC0 or public domain), scikit-learn, matplotlib."""

_SIDE = 512


def make(recipe: Recipe) -> Any:
    """Return the value a recipe describes: a picture, a text, or a list of either."""
    return _MAKERS[recipe["kind"]](recipe)


def undamaged(recipe: Recipe, scale: int = 1) -> Recipe:
    """Return the recipe of the same picture before it was damaged, `scale` times as large for an enlargement."""
    clean = {**recipe, "damage": []}
    if scale != 1:
        clean["size"] = recipe["size"] * scale
    return clean


def passage_of(recipe: Recipe) -> Passage:
    """Return the passage a page, text or question was made from, with what is true of it."""
    wanted = recipe["passage"]
    return passage(wanted["kind"], wanted["seed"], wanted.get("language", "en"))


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of a value's content: pixels with mode and size, UTF-8 text, or those of a list's items."""
    if isinstance(value, Image.Image):
        content = f"{value.mode} {value.width} {value.height} ".encode() + value.tobytes()
    elif isinstance(value, str):
        content = value.encode()
    else:
        content = " ".join(fingerprint(item) for item in value).encode()
    return hashlib.sha256(content).hexdigest()


def _page(recipe: Recipe) -> Image.Image:
    style = recipe["style"]
    text = recipe["text"] if "text" in recipe else _words(recipe)
    page = render(text, size=style["size"], columns=style["columns"], font=style["font"])
    return _damaged(page, recipe)


def _words(recipe: Recipe) -> str:
    found = passage_of(recipe)
    return found.questions[recipe["number"]][0] if "number" in recipe else found.text


def _photo(recipe: Recipe) -> Image.Image:
    return _damaged(_cut(recipe), recipe)


def _cut(recipe: Recipe) -> Image.Image:
    x, y, side = recipe["box"]
    size = recipe["size"]
    return photograph(recipe["photo"]).crop((x, y, x + side, y + side)).resize((size, size), Image.Resampling.LANCZOS)


def _code(recipe: Recipe) -> Image.Image:
    scene = _cut(recipe)
    scene.paste(qr_code(recipe["payload"], recipe["module"]).convert(scene.mode), tuple(recipe["at"]))
    return _damaged(scene, recipe)


def _faces(recipe: Recipe) -> Image.Image:
    scene = _cut(recipe).convert("L")
    for number, x, y, side in recipe["faces"]:
        crop = Image.fromarray(_face_crops()[number]).resize((side, side), Image.Resampling.BICUBIC)
        scene.paste(crop, (x, y))
    return _damaged(scene, recipe)


def _text(recipe: Recipe) -> str:
    text = recipe["text"] if "text" in recipe else passage_of(recipe).text
    return misspelt(text, recipe["mistakes"], _random(recipe)) if recipe.get("mistakes") else text


def _question(recipe: Recipe) -> str:
    return passage_of(recipe).questions[recipe["number"]][0]


def _list(recipe: Recipe) -> list[Any]:
    return [make(item) for item in recipe["items"]]


_MAKERS = {
    "page": _page, "photo": _photo, "code": _code, "faces": _faces, "text": _text, "question": _question, "list": _list,
}  # fmt: skip

_ALIKE = {"r": "n", "n": "r", "e": "c", "c": "e", "a": "o", "o": "a", "l": "i", "i": "l", "t": "f", "h": "b", "m": "rn"}


def misspelt(text: str, share: float, random: Random) -> str:
    """Return `text` with a share of its letters misread, doubled, dropped or swapped with the next."""
    letters: list[str] = []
    for letter in text:
        if not letter.isalpha() or random.random() >= share:
            letters.append(letter)
            continue
        kind = int(random.integers(4))
        if kind == 3 and letters:
            letters.insert(len(letters) - 1, letter)
        else:
            letters.append((_ALIKE.get(letter, letter), letter * 2, "")[kind % 3])
    return "".join(letters)


def _damaged(image: Image.Image, recipe: Recipe) -> Image.Image:
    random = _random(recipe)
    for kind, level in recipe["damage"]:
        image = _DAMAGES[kind](image, level, random)
    return image


def _random(recipe: Recipe) -> Random:
    return np.random.default_rng([recipe["seed"], 41])


def _noise(image: Image.Image, level: float, random: Random) -> Image.Image:
    return noisy(level)(image, random)


def _specks(image: Image.Image, level: float, random: Random) -> Image.Image:
    return specked(level)(image, random)


def _blur(image: Image.Image, level: float, random: Random) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(level))


def _half(image: Image.Image, level: float, random: Random) -> Image.Image:
    size = max(1, round(image.width * level)), max(1, round(image.height * level))
    return image.resize(size, Image.Resampling.BOX)


_DAMAGES = {"noise": _noise, "specks": _specks, "blur": _blur, "shrink": _half}


@cache
def photograph(name: str) -> Image.Image:
    """Return one of `PHOTOS`, its middle square scaled to 512 pixels."""
    with Image.open(_file(PHOTOS[name], name)) as opened:
        image = opened.convert("L" if opened.mode in ("L", "I;16", "1") else "RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side)).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)


def _file(package: str, name: str) -> Path:
    if package == "skimage":
        import skimage.data

        folder = Path(skimage.data.__file__).parent
    elif package == "sklearn":
        import sklearn.datasets

        folder = Path(sklearn.datasets.__file__).parent / "images"
    else:
        import matplotlib

        folder = Path(matplotlib.get_data_path()) / "sample_data"
    found = [folder / f"{name}.{ending}" for ending in ("png", "jpg") if (folder / f"{name}.{ending}").is_file()]
    if not found:
        raise FileNotFoundError(f"{package} ships no picture called {name!r} in {folder}; check its version")
    return found[0]


@cache
def _face_crops() -> NDArray[np.uint8]:
    import skimage.data

    return np.asarray(np.load(Path(skimage.data.__file__).parent / "lfw_subset.npy")[:100] * 255).astype(np.uint8)
