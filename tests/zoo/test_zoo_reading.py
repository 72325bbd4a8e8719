"""Reading text, codes and faces from pictures with a known answer."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catp.tools.bench.damage import noisy, specked
from catp.tools.bench.metrics import boxes_f1, character_accuracy
from catp.tools.bench.pages import render
from catp.tools.bench.pictures import photographs
from catp.tools.builtin.codes import TOOLS as CODE_TOOLS
from catp.tools.builtin.codes import codes_zxing, codes_zxing_fast
from catp.tools.builtin.denoise import denoise_median
from catp.tools.builtin.faces import TOOLS as FACE_TOOLS
from catp.tools.builtin.ocr import TOOLS as OCR_TOOLS
from catp.tools.builtin.ocr import ocr_rapid, ocr_rapid_lines
from catp.tools.builtin.records import Codes, Faces, Reading
from catp.tools.decorator import Tool

pytestmark = pytest.mark.zoo

TEXT = "The ferry leaves at noon. Bring warm clothes and a good map of the islands."
EXAMPLES = Path(__file__).parents[2] / "examples"


def runnable(tools: tuple[Tool[..., object], ...]) -> list[object]:
    return [
        pytest.param(
            tool, id=tool.spec.name, marks=[pytest.mark.skip(reason)] if (reason := tool.spec.unavailable()) else []
        )
        for tool in tools
    ]


@pytest.mark.parametrize("tool", runnable(OCR_TOOLS))
def test_a_clean_page_is_read(tool: Tool[..., Reading]) -> None:
    found = tool(render(TEXT))
    assert character_accuracy(found.text, TEXT) > 0.95
    assert 0.0 < found.confidence <= 1.0


def test_columns_are_read_one_after_the_other() -> None:
    left, right = (
        render("Apples grow on trees in the old garden behind the mill", columns=18),
        render("Trains leave every hour from the station on the hill", columns=18),
    )
    sheet = Image.new("L", (left.width + right.width, max(left.height, right.height)), 250)
    sheet.paste(left, (0, 0))
    sheet.paste(right, (left.width, 0))
    text = " ".join(ocr_rapid(sheet).text.split())
    assert text.index("mill") < text.index("Trains")


def test_tilted_unevenly_lit_lines_are_still_found() -> None:
    page = render(" ".join([TEXT] * 2)).rotate(1.5, Image.Resampling.BICUBIC, expand=True, fillcolor=250)
    shade = np.linspace(1.0, 0.6, page.width)
    dim = Image.fromarray((np.asarray(page) * shade).astype(np.uint8))
    assert character_accuracy(ocr_rapid_lines(dim).text, f"{TEXT} {TEXT}") > 0.9


@pytest.mark.parametrize("tool", runnable(OCR_TOOLS[:2]))
@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (64, 64)])
def test_blank_and_tiny_pictures_read_as_nothing(tool: Tool[..., Reading], size: tuple[int, int]) -> None:
    assert tool(Image.new("RGB", size, "white")) == Reading("", 0.0)


def test_the_demo_scan_needs_cleaning_and_cleaning_pays() -> None:
    truth = (EXAMPLES / "scan.txt").read_text(encoding="utf-8")
    with Image.open(EXAMPLES / "scan.png") as scan:
        raw, cleaned = ocr_rapid(scan), ocr_rapid(denoise_median(scan))
    assert 0.5 < character_accuracy(raw.text, truth) < 0.9
    assert character_accuracy(cleaned.text, truth) > 0.97
    assert (EXAMPLES / "scan.png").stat().st_size < 300_000


def qr(payload: str) -> Image.Image:
    import segno

    rows = np.array([list(row) for row in segno.make(payload, error="m").matrix_iter(scale=5, border=4)])
    return Image.fromarray(np.where(rows > 0, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("tool", CODE_TOOLS, ids=lambda tool: tool.spec.name)
def test_a_code_in_a_photograph_is_read(tool: Tool[..., Codes]) -> None:
    scene = photographs()[1].convert("RGB")
    scene.paste(qr("parcel 4711 für Zoë"), (100, 60))
    assert tool(scene).items == ["parcel 4711 für Zoë"]
    assert tool(photographs()[1]).items == []
    assert tool(Image.new("L", (1, 1))).items == []


def test_the_thorough_reader_reads_what_the_fast_one_cannot() -> None:
    inverted = Image.eval(qr("inside out"), lambda value: 255 - value)
    assert codes_zxing_fast(inverted).items == []
    assert codes_zxing(inverted).items == ["inside out"]


def test_median_rescues_a_specked_code() -> None:
    image = specked(0.35)(qr("specks everywhere"), np.random.default_rng(2))
    assert codes_zxing_fast(image).items == []
    assert codes_zxing_fast(denoise_median(image)).items == ["specks everywhere"]


@pytest.mark.parametrize("tool", FACE_TOOLS, ids=lambda tool: tool.spec.name)
def test_the_astronaut_has_one_face(tool: Tool[..., Faces]) -> None:
    found = tool(photographs()[0])
    face = {"x": 170, "y": 65, "w": 105, "h": 105}
    assert found.count == len(found.boxes) >= 1
    assert any(boxes_f1([box], [face]) == 1.0 for box in found.boxes)
    assert tool(noisy(5)(Image.new("L", (200, 200), 128), np.random.default_rng(3))).count == 0
    assert tool(Image.new("L", (1, 1))).count == 0


def test_missing_programs_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    reasons = {str(tool.spec.name): tool.spec.unavailable() for tool in OCR_TOOLS[2:]}
    assert reasons["ocr_tesseract"] == "needs the program tesseract: apt install tesseract-ocr"
    assert reasons["ocr_gocr"] == "needs the program gocr: apt install gocr"
