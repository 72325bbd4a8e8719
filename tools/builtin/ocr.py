"""Reading text: two ways through the PP-OCRv6 networks that ship inside the `rapidocr` wheel, two Debian programs.

`ocr_rapid` finds text anywhere with a detection network and then recognises it. `ocr_rapid_lines` finds lines by
classical means (even light, straighten, cut at blank rows) and only pays for recognition: cheaper, as good on a plain
column of text, helpless on anything else. Both need no network: the models are files of the wheel.
"""

import functools
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from catp.tools.builtin.arrays import np
from catp.tools.builtin.needs import needs, needs_program
from catp.tools.builtin.pixels import Array, grey, one_thread, pixels
from catp.tools.builtin.records import Reading
from catp.tools.decorator import Tool, tool
from catp.tools.price import ComputePrice

__all__ = ["TOOLS", "ocr_gocr", "ocr_rapid", "ocr_rapid_lines", "ocr_tesseract"]

_TRUSTED = 0.3
_BLANK_ROWS = 1.0
_MIN_HEIGHT = 6
"""Rows of ink fewer than this are rules and specks, not lines of text."""
_COLUMN_ROWS = 3


@dataclass(frozen=True, slots=True)
class _Placed:
    """A piece of text and where it stands."""

    left: float
    right: float
    middle: float
    text: str


@functools.cache
def _engine() -> Any:
    """One engine for a worker's life; each network is loaded when first used.

    The angle classifier is off and small pages are not enlarged: rapidocr's defaults cost two to three times as much
    here and read no better. Naming the model files keeps the library from ever looking for a download.
    """
    import rapidocr

    models = Path(rapidocr.__file__).parent / "models"
    return rapidocr.RapidOCR(
        params={
            "Global.use_cls": False,
            "Global.log_level": "critical",
            "Det.limit_type": "max",
            "Det.limit_side_len": 960,
            "Det.model_path": str(models / "PP-OCRv6_det_small.onnx"),
            "Rec.model_path": str(models / "PP-OCRv6_rec_small.onnx"),
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )


def _load_recogniser() -> None:
    _engine().recognize_txt([np.full((48, 96, 3), 255, dtype=np.uint8)])


def _load_reader() -> None:
    blank = np.full((64, 256, 3), 255, dtype=np.uint8)
    one_thread().putText(blank, "warm", (20, 45), 0, 1.4, (0, 0, 0), 3)
    _engine()(blank)


@tool(
    capability="ocr",
    price=ComputePrice(),
    family="ocr",
    setup=_load_reader,
    timeout=60.0,
    unavailable=needs("rapidocr", "onnxruntime", "cv2"),
)
def ocr_rapid(image: Image.Image) -> Reading:
    """Read text anywhere in a picture with the PP-OCRv6 detection and recognition networks."""
    array = pixels(image)
    colours = array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)
    if min(colours.shape[:2]) < _MIN_HEIGHT:
        return Reading("", 0.0)
    found = _engine()(np.ascontiguousarray(colours[..., ::-1]))
    if found.txts is None:
        return Reading("", 0.0)
    text = _reading_order([np.asarray(box) for box in found.boxes], list(found.txts))
    return Reading(text, round(float(np.mean(found.scores)), 4))


@tool(
    capability="ocr",
    price=ComputePrice(),
    family="ocr",
    setup=_load_recogniser,
    timeout=60.0,
    unavailable=needs("rapidocr", "onnxruntime", "cv2"),
)
def ocr_rapid_lines(image: Image.Image) -> Reading:
    """Read one column of text: lines cut at blank rows, then the PP-OCRv6 recognition network only."""
    page = _straightened(_evened(grey(image)))
    engine = _engine()
    read = [engine.recognize_txt([_strip(page[top:bottom])]) for top, bottom in _lines(page)]
    kept = [(found.txts[0], found.scores[0]) for found in read if found.txts[0] and found.scores[0] > _TRUSTED]
    if not kept:
        return Reading("", 0.0)
    return Reading("\n".join(text for text, _ in kept), round(float(np.mean([score for _, score in kept])), 4))


@tool(
    capability="ocr",
    price=ComputePrice(),
    family="programs",
    timeout=60.0,
    unavailable=needs_program("tesseract", "tesseract-ocr"),
)
def ocr_tesseract(image: Image.Image) -> Reading:
    """Read a block of text with the Debian program tesseract."""
    text = _run_program(image, ["tesseract", "{file}", "stdout", "--psm", "6"])
    return Reading(text, 0.8 if text else 0.0)


@tool(
    capability="ocr", price=ComputePrice(), family="programs", timeout=30.0, unavailable=needs_program("gocr", "gocr")
)
def ocr_gocr(image: Image.Image) -> Reading:
    """Read clean printed text with the Debian program gocr: the cheapest reader, and the first to fail on damage."""
    text = _run_program(image, ["gocr", "{file}"])
    return Reading(text, 0.5 if text else 0.0)


TOOLS: tuple[Tool[..., Any], ...] = (ocr_rapid, ocr_rapid_lines, ocr_tesseract, ocr_gocr)


def _reading_order(boxes: list[Array], texts: list[str]) -> str:
    """Join texts column by column, and within a column line by line."""
    height = float(np.median([np.ptp(box[:, 1]) for box in boxes]))
    placed = [
        _Placed(float(box[:, 0].min()), float(box[:, 0].max()), float(box[:, 1].mean()), text.strip())
        for box, text in zip(boxes, texts, strict=True)
    ]
    return "\n".join(line for column in _columns(placed, height) for line in _rows(column, height))


def _columns(placed: list[_Placed], height: float) -> list[list[_Placed]]:
    """Cut at upright gutters that no box crosses, if at least three boxes lie on either side."""
    order = sorted(placed, key=lambda item: item.left)
    reach = order[0].right
    for place in range(1, len(order)):
        wide = order[place].left - reach > 0.6 * height
        if wide and place >= _COLUMN_ROWS and len(order) - place >= _COLUMN_ROWS:
            return [order[:place], *_columns(order[place:], height)]
        reach = max(reach, order[place].right)
    return [order]


def _rows(column: list[_Placed], height: float) -> list[str]:
    """Boxes whose centres lie within half a line height of each other share a line."""
    rows: list[list[_Placed]] = []
    for item in sorted(column, key=lambda item: item.middle):
        if rows and item.middle - rows[-1][0].middle < 0.5 * height:
            rows[-1].append(item)
        else:
            rows.append([item])
    return [" ".join(item.text for item in sorted(row, key=lambda item: item.left)) for row in rows]


def _evened(page: Array) -> Array:
    """Divide by the light on the paper, so that one threshold fits the whole page."""
    cv2 = one_thread()
    side = max(15, min(page.shape) // 12 | 1)
    light = cv2.GaussianBlur(cv2.dilate(page, np.ones((side, side), np.uint8)), (0, 0), side)
    return np.asarray(np.clip(page * (255.0 / np.maximum(light, 1)), 0, 255).astype(np.uint8))


def _straightened(page: Array) -> Array:
    """Undo a tilt of up to three degrees: the angle at which rows are most clearly either ink or paper."""
    cv2 = one_thread()
    scale = min(1.0, 400 / max(page.shape))
    small = 255 - cv2.resize(page, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    centre = (small.shape[1] / 2, small.shape[0] / 2)

    def contrast(degrees: float) -> float:
        turn = cv2.getRotationMatrix2D(centre, degrees, 1.0)
        return float(np.var(cv2.warpAffine(small, turn, small.shape[::-1]).mean(axis=1)))

    angle = max(np.arange(-3.0, 3.01, 0.25).tolist(), key=contrast)
    if abs(angle) < 0.2:
        return page
    turn = cv2.getRotationMatrix2D((page.shape[1] / 2, page.shape[0] / 2), angle, 1.0)
    return np.asarray(cv2.warpAffine(page, turn, page.shape[::-1], flags=cv2.INTER_CUBIC, borderValue=255))


def _lines(page: Array) -> list[tuple[int, int]]:
    """Top and bottom of each line of text: runs of rows with ink, with a margin into the blank rows around them."""
    cv2 = one_thread()
    soft = cv2.GaussianBlur(page, (0, 0), 1.5)
    ink = cv2.threshold(soft, 0, 255, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)[1]
    share = ink.mean(axis=1) / 255.0
    inked = np.concatenate(([0], (share > max(0.004, 0.12 * float(np.quantile(share, 0.9)))).astype(np.int8), [0]))
    starts, ends = np.flatnonzero(np.diff(inked) == 1), np.flatnonzero(np.diff(inked) == -1)
    runs = [(int(a), int(b)) for a, b in zip(starts, ends, strict=True) if b - a >= _MIN_HEIGHT]
    margin = max(2, int(np.median([b - a for a, b in runs])) // 5) if runs else 0
    return [(max(0, a - margin), min(page.shape[0], b + margin)) for a, b in runs]


def _strip(line: Array) -> Array:
    """One line as the network wants it: blank ends cut off, and blank rows added above and below.

    The network scales every line to 48 rows and its price grows with the scaled width, so blank rows make it cheaper;
    with as many blank rows as inked ones the letters are still large enough to be told apart.
    """
    dark = np.flatnonzero((line < 160).sum(axis=0) > 1)
    side = line.shape[0] // 3
    ends = (max(0, int(dark[0]) - side), int(dark[-1]) + side) if len(dark) else (0, line.shape[1])
    blank = int(_BLANK_ROWS * line.shape[0] / 2)
    padded = np.pad(line[:, ends[0] : ends[1]], ((blank, blank), (0, 0)), constant_values=255)
    return np.repeat(padded[..., None], 3, axis=2)


def _run_program(image: Image.Image, command: list[str]) -> str:
    with tempfile.TemporaryDirectory(prefix="catp-ocr-") as folder:
        path = Path(folder) / "page.pgm"
        Image.fromarray(grey(image)).save(path)
        arguments = [part.format(file=path) for part in command]
        done = subprocess.run(arguments, capture_output=True, check=False, timeout=60)
    if done.returncode:
        raise RuntimeError(
            f"{command[0]} ended with code {done.returncode}: {done.stderr.decode(errors='replace')[-300:]}"
        )
    return done.stdout.decode(errors="replace").strip()
