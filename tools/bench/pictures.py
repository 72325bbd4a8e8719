"""Photographs, codes and faces: pictures with a known answer, made from what the scikit packages ship."""

from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import numpy as np
from PIL import Image

from catp.tools.bench.cases import IMAGE, Case, condition_of
from catp.tools.bench.damage import DAMAGES, noisy, shrunk
from catp.tools.bench.metrics import boxes_f1, mended, overlap_f1
from catp.tools.bench.pages import pages
from catp.tools.builtin.records import Codes, Faces, ImageStats, NoiseEstimate

__all__ = ["photographs", "picture_cases", "qr_code"]

_CLEANERS = (("denoise_median",), ("denoise_bilateral",), ("denoise_dct",))
_CODE_HELPERS = (*_CLEANERS, ("upscale_bicubic",), ("upscale_backproject",))
_SIZES = (128, 256, 512)
_PAYLOADS = ("https://example.org/parcel/4711", "CATP 2026-11-22", "tel:+442079460958", "one payload among many")


@cache
def photographs() -> tuple[Image.Image, ...]:
    """Photographs that ship inside scikit-image and scikit-learn, square, 512 pixels wide."""
    from sklearn.datasets import load_sample_image

    data = _skimage_data()
    arrays = (data.astronaut(), data.coffee(), data.chelsea(), data.camera(), load_sample_image("china.jpg"))
    return tuple(_square(Image.fromarray(array)) for array in arrays)


def picture_cases(quick: bool = False) -> Iterator[Case]:
    """Yield the cases of every capability that works on pictures except reading."""
    yield from _restorations(quick)
    yield from _enlargements(quick)
    yield from _code_scenes(quick)
    yield from _face_scenes(quick)
    yield from _probes(quick)


def _restorations(quick: bool) -> Iterator[Case]:
    """Pages and photographs, damaged: what share of the damage does a tool undo?"""
    for truth, damaged in _damaged(quick):
        condition = condition_of(damaged)
        score = partial(_mended, damaged, truth)
        if condition.startswith("blurred"):
            yield Case("deblur", {IMAGE: damaged}, (condition,), score)
        if condition != "blurred":
            yield Case("denoise", {IMAGE: damaged}, (condition,), score)
        if condition == "clean":
            yield Case("deblur", {IMAGE: damaged}, (condition,), score)


def _damaged(quick: bool) -> Iterator[tuple[Image.Image, Image.Image]]:
    random = np.random.default_rng(3)
    for _, clean, page in pages(quick):
        yield clean, page
    for number, photo in enumerate(photographs()[: 1 if quick else None]):
        for size in (128,) if quick else (_SIZES if number == 0 else (256,)):
            clean = photo.resize((size, size), Image.Resampling.LANCZOS)
            yield clean, clean
            for _, levels in DAMAGES:
                for damage in levels[: 1 if quick else None]:
                    yield clean, damage(clean, random)


def _enlargements(quick: bool) -> Iterator[Case]:
    random = np.random.default_rng(4)
    for number, photo in enumerate(photographs()[: 1 if quick else None]):
        for size in (256,) if quick or number else (128, 256, 512):
            truth = photo.resize((size, size), Image.Resampling.LANCZOS)
            for image in (shrunk(2)(truth, random), noisy(12)(shrunk(2)(truth, random), random)):
                blocks = image.resize(truth.size, Image.Resampling.NEAREST)
                yield Case("upscale", {IMAGE: image}, (condition_of(image),), partial(_mended, blocks, truth))


def _code_scenes(quick: bool) -> Iterator[Case]:
    random = np.random.default_rng(5)
    for number, payload in enumerate(_PAYLOADS[: 1 if quick else None]):
        scene = photographs()[number].convert("RGB")
        code = qr_code(payload, 4 + number % 2)
        scene.paste(code, (40 + 30 * number, 60))
        for image in _versions(scene, random, quick):
            yield Case("codes", {IMAGE: image}, (condition_of(image),), partial(_codes, [payload]), _CODE_HELPERS)


def _face_scenes(quick: bool) -> Iterator[Case]:
    crops = (_skimage_data().lfw_subset()[:100] * 255).astype(np.uint8)
    random = np.random.default_rng(6)
    for number in range(1 if quick else 3):
        scene = photographs()[(1, 4, 1)[number]].convert("L")
        boxes = []
        for place in range(3):
            side = int(random.integers(60, 110))
            left, top = 20 + 165 * place, int(random.integers(40, 380))
            crop = Image.fromarray(crops[3 * number + place]).resize((side, side), Image.Resampling.BICUBIC)
            scene.paste(crop, (left, top))
            boxes.append({"x": left, "y": top, "w": side, "h": side})
        for image in _versions(scene, random, quick):
            scale = image.width / scene.width
            wanted = [{key: value * scale for key, value in box.items()} for box in boxes]
            score = partial(_faces, wanted)
            yield Case("faces", {IMAGE: image}, (condition_of(image),), score, _CLEANERS)


def _probes(quick: bool) -> Iterator[Case]:
    random = np.random.default_rng(8)
    _, clean, _ = next(pages(quick))
    for image in (clean, *(photo.convert("L") for photo in photographs()[: 0 if quick else None])):
        array = np.asarray(image.convert("L"), dtype=np.float64)
        truth = (image.width, image.height, array.mean(), array.std())
        yield Case("image_stats", {IMAGE: image}, (condition_of(image),), partial(_stats, truth))
        for label, levels in DAMAGES:
            for damage in levels or (lambda picture, _: picture,):
                damaged = damage(image, random)
                yield Case("estimate_noise", {IMAGE: damaged}, (label,), partial(_estimate, label))


def _versions(scene: Image.Image, random: np.random.Generator, quick: bool) -> Iterator[Image.Image]:
    yield scene
    for _, levels in DAMAGES:
        for damage in levels[: 1 if quick else None]:
            yield damage(scene, random)
    yield shrunk(3)(scene, random)


def _skimage_data() -> Any:
    import skimage.data

    return skimage.data


def qr_code(payload: str, module: int) -> Image.Image:
    """Return a QR code of `payload` whose modules are `module` pixels wide."""
    import segno

    rows = np.array([list(row) for row in segno.make(payload, error="m").matrix_iter(scale=module, border=3)])
    return Image.fromarray(np.where(rows > 0, 0, 255).astype(np.uint8))


def _square(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side)).resize((512, 512), Image.Resampling.LANCZOS)


def _mended(damaged: Image.Image, truth: Image.Image, found: Image.Image) -> float:
    return mended(found, damaged, truth)


def _codes(wanted: list[str], found: Codes) -> float:
    return overlap_f1(found.items, wanted)


def _faces(wanted: list[dict[str, float]], found: Faces) -> float:
    return boxes_f1(found.boxes, wanted)


def _stats(truth: tuple[Any, ...], found: ImageStats) -> float:
    measured = (found.width, found.height, found.mean, found.contrast)
    return float(all(abs(a - b) < 0.01 for a, b in zip(measured, truth, strict=True)))


def _estimate(label: str, found: NoiseEstimate) -> float:
    return float(found.condition == label)
