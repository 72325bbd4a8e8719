"""The restoring tools and probes on pictures whose undamaged original is known."""

import numpy as np
import pytest
from PIL import Image

from catp.tools.bench.damage import Damage, blurred, noisy, shrunk, specked
from catp.tools.bench.metrics import psnr
from catp.tools.bench.pages import render
from catp.tools.bench.pictures import photographs
from catp.tools.builtin import deblur, denoise, looks, upscale
from catp.tools.builtin.facts import describe
from catp.tools.builtin.pixels import MAX_PIXELS
from catp.tools.decorator import Tool

pytestmark = pytest.mark.zoo

TEXT = "The ferry leaves at noon. Bring warm clothes and a good map of the islands."


def photo(size: int = 256) -> Image.Image:
    return photographs()[2].convert("L").resize((size, size), Image.Resampling.LANCZOS)


def damaged(image: Image.Image, damage: Damage) -> Image.Image:
    return damage(image, np.random.default_rng(1))


def gain(tool: Tool[..., Image.Image], truth: Image.Image, image: Image.Image, **args: float) -> float:
    return psnr(tool(image, **args), truth) - psnr(image, truth)


def test_median_undoes_specks_and_the_others_do_not() -> None:
    truth = photo()
    image = damaged(truth, specked(0.1))
    assert gain(denoise.denoise_median, truth, image) > 5
    assert gain(denoise.denoise_median, truth, image) > gain(denoise.denoise_bilateral, truth, image) + 5


@pytest.mark.parametrize("tool", denoise.TOOLS[1:], ids=lambda tool: tool.spec.name)
def test_every_denoiser_undoes_gaussian_noise(tool: Tool[..., Image.Image]) -> None:
    truth = photo()
    image = damaged(truth, noisy(25))
    assert gain(tool, truth, image) > 3
    assert gain(tool, truth, image, sigma=25.0) > 3


def test_a_closer_stride_buys_quality() -> None:
    truth = photo()
    image = damaged(truth, noisy(40))
    coarse, fine = (gain(tool, truth, image) for tool in (denoise.denoise_dct, denoise.denoise_dct_fine))
    assert fine > coarse + 0.2


@pytest.mark.parametrize("tool", deblur.TOOLS, ids=lambda tool: tool.spec.name)
def test_every_deblurring_tool_sharpens_a_soft_page(tool: Tool[..., Image.Image]) -> None:
    truth = render(TEXT)
    image = damaged(truth, blurred(1.5))
    assert gain(tool, truth, image, sigma=1.5) > 1
    assert gain(tool, truth, image) > 0.4, "with the measured width"


def test_more_iterations_pay_on_clean_and_harm_noisy_pictures() -> None:
    truth = render(TEXT)
    clean, rough = damaged(truth, blurred(1.5)), damaged(truth, blurred(1.5, 30))
    ten, thirty = deblur.deblur_rl10, deblur.deblur_rl30
    assert gain(thirty, truth, clean, sigma=1.5) > gain(ten, truth, clean, sigma=1.5)
    assert gain(thirty, truth, rough, sigma=1.5) < gain(ten, truth, rough, sigma=1.5)


@pytest.mark.parametrize("tool", upscale.TOOLS, ids=lambda tool: tool.spec.name)
def test_upscaling_doubles_and_beats_repeated_pixels(tool: Tool[..., Image.Image]) -> None:
    truth = photo()
    small = damaged(truth, shrunk(2))
    blocks = small.resize(truth.size, Image.Resampling.NEAREST)
    large = tool(small)
    assert large.size == truth.size
    assert psnr(large, truth) > psnr(blocks, truth) + 1


def test_backprojection_is_sharpest_on_clean_pictures() -> None:
    truth = photo()
    small = damaged(truth, shrunk(2))
    assert psnr(upscale.upscale_backproject(small), truth) > psnr(upscale.upscale_lanczos(small), truth)


@pytest.mark.parametrize(
    ("damage", "condition"),
    [
        (noisy(0.1), "clean"), (noisy(25), "noisy"), (noisy(80), "very_noisy"), (specked(0.08), "impulse"),
        (specked(0.1, 1.3), "impulse"), (blurred(2.2), "blurred"), (blurred(2.2, 18), "blurred_noisy"),
    ],
)  # fmt: skip
def test_the_probe_names_the_damage_of_a_page(damage: Damage, condition: str) -> None:
    page = damaged(render(TEXT * 4), damage)
    assert looks.estimate_noise(page).condition == condition
    assert describe(page).condition == condition, "the planner and the tool must say the same"


def test_the_probe_measures_what_was_added() -> None:
    grey = Image.new("L", (300, 200), 128)
    assert looks.estimate_noise(damaged(grey, noisy(20))).sigma == pytest.approx(20, rel=0.1)
    assert looks.estimate_noise(damaged(photo(), specked(0.1))).impulse == pytest.approx(0.1, rel=0.4)
    stripes = Image.fromarray(np.repeat([([40] * 25 + [220] * 25) * 4], 200, axis=0).astype(np.uint8))
    assert looks.estimate_noise(damaged(stripes, blurred(2.0))).blur == pytest.approx(2.0, rel=0.2)


def test_small_print_is_a_condition() -> None:
    assert looks.estimate_noise(render(TEXT * 6, size=8, columns=60)).condition == "small"
    assert looks.estimate_noise(render(TEXT * 6, size=18)).condition == "clean"


def test_statistics() -> None:
    image = Image.new("RGB", (30, 20), (100, 100, 100))
    found = looks.image_stats(image)
    assert (found.width, found.height, found.mean, found.contrast) == (30, 20, 100.0, 0.0)


PICTURE_TOOLS = (*denoise.TOOLS, *deblur.TOOLS, *upscale.TOOLS)


@pytest.mark.parametrize("tool", PICTURE_TOOLS, ids=lambda tool: tool.spec.name)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1", "P", "I;16", "F"])
def test_tools_take_every_mode_and_the_smallest_picture(tool: Tool[..., Image.Image], mode: str) -> None:
    for size in ((1, 1), (2, 7), (33, 20)):
        image = Image.new("L", size, 200).convert("I").convert(mode) if mode == "I;16" else Image.new(mode, size)
        result = tool(image)
        factor = 2 if tool.spec.capability == "upscale" else 1
        assert result.size == (size[0] * factor, size[1] * factor)
        assert result.mode in ("L", "RGB")


def test_colour_stays_colour() -> None:
    image = photographs()[0].convert("RGB").resize((64, 64))
    assert denoise.denoise_dct(image).mode == "RGB"
    assert abs(np.asarray(denoise.denoise_median(image), float).mean() - np.asarray(image, float).mean()) < 3


def test_transparent_pixels_are_white() -> None:
    assert looks.image_stats(Image.new("RGBA", (20, 20), (0, 0, 0, 0))).mean == 255


def test_too_large_pictures_are_refused_before_any_work() -> None:
    side = int(MAX_PIXELS**0.5) + 10
    with pytest.raises(ValueError, match="at most 40,000,000"):
        denoise.denoise_dct(Image.new("1", (side, side)))
    with pytest.raises(ValueError, match="would give more than"):
        upscale.upscale_bicubic(Image.new("1", (side // 2 + 10, side // 2 + 10)))


@pytest.mark.parametrize("sigma", [0.0, -1.0, 300.0, float("nan")])
def test_an_impossible_sigma_is_named(sigma: float) -> None:
    with pytest.raises(ValueError, match="sigma must lie in"):
        denoise.denoise_dct(photo(32), sigma=sigma)
    with pytest.raises(ValueError, match="sigma must lie in"):
        deblur.deblur_tv(photo(32), sigma=sigma)
