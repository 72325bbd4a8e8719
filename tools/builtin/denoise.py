"""Noise removal: five ways from microseconds to a second, each the best choice somewhere.

Median filters win on specks and harm thin text; the bilateral filter wins on light noise; sliding DCT wins from medium
noise upwards and has two settings of one trade-off, the distance between its blocks.
"""

from typing import Any, Literal

from PIL import Image

from catp.tools.builtin.arrays import np
from catp.tools.builtin.needs import needs
from catp.tools.builtin.pixels import Array, one_thread, per_channel, picture, pixels
from catp.tools.builtin.probes import probe
from catp.tools.decorator import Tool, tool
from catp.tools.price import ComputePrice

__all__ = ["TOOLS", "denoise_bilateral", "denoise_dct", "denoise_dct_fine", "denoise_median", "denoise_nlm",
           "denoise_wavelet"]  # fmt: skip

_SIGMA = {"sigma": "standard deviation of the noise, 0 to 255; measured if left out"}
_BLOCK = 8
_BAND = 64


def _load_skimage() -> None:
    one_thread()
    from skimage.restoration import denoise_nl_means, denoise_wavelet

    tiny = np.zeros((16, 16), dtype=np.float32)
    denoise_wavelet(tiny, sigma=0.1)
    denoise_nl_means(tiny, sigma=0.1)


@tool(
    capability="denoise",
    price=ComputePrice(),
    family="vision",
    setup=one_thread,
    params={"size": "width of the window in pixels"},
    unavailable=needs("cv2"),
)
def denoise_median(image: Image.Image, size: Literal[3, 5] = 3) -> Image.Image:
    """Replace each pixel by the median of its neighbours: right for black and white specks, hard on thin strokes."""
    return picture(one_thread().medianBlur(pixels(image), size))


@tool(
    capability="denoise",
    price=ComputePrice(),
    family="vision",
    setup=one_thread,
    params=_SIGMA,
    unavailable=needs("cv2"),
)
def denoise_bilateral(image: Image.Image, sigma: float | None = None) -> Image.Image:
    """Average over neighbours of similar brightness: cheap, keeps edges, right for light noise."""
    level = _level(image, sigma)
    return picture(one_thread().bilateralFilter(pixels(image), 7, 2.5 * level, 1.8))


@tool(
    capability="denoise",
    price=ComputePrice(),
    family="skimage",
    setup=_load_skimage,
    params=_SIGMA,
    unavailable=needs("skimage", "pywt"),
)
def denoise_wavelet(image: Image.Image, sigma: float | None = None) -> Image.Image:
    """Shrink wavelet coefficients (BayesShrink): a middle price for medium noise."""
    from skimage.restoration import denoise_wavelet as shrink

    level = _level(image, sigma)

    def work(plane: Array) -> Array:
        return np.asarray(shrink(plane / 255.0, sigma=level / 255.0, method="BayesShrink", rescale_sigma=True)) * 255.0

    return picture(per_channel(pixels(image), work, pad=8))


@tool(
    capability="denoise",
    price=ComputePrice(),
    family="skimage",
    setup=_load_skimage,
    params=_SIGMA,
    unavailable=needs("skimage"),
)
def denoise_nlm(image: Image.Image, sigma: float | None = None) -> Image.Image:
    """Average similar patches wherever they are (non-local means): for strong noise in pictures with texture."""
    from skimage.restoration import denoise_nl_means

    level = _level(image, sigma)

    def work(plane: Array) -> Array:
        found = denoise_nl_means(plane, patch_size=5, patch_distance=6, h=0.8 * level, sigma=level, fast_mode=True)
        return np.asarray(found)

    return picture(per_channel(pixels(image), work, pad=8))


@tool(capability="denoise", price=ComputePrice(), family="vision", params=_SIGMA)
def denoise_dct(image: Image.Image, sigma: float | None = None) -> Image.Image:
    """Threshold the DCT of overlapping 8x8 blocks, every fourth pixel: strong noise at a low price."""
    return _sliding_dct(image, sigma, stride=4)


@tool(capability="denoise", price=ComputePrice(), family="vision", params=_SIGMA)
def denoise_dct_fine(image: Image.Image, sigma: float | None = None) -> Image.Image:
    """Threshold the DCT of 8x8 blocks at every pixel: the best quality under strong noise, at many times the price."""
    return _sliding_dct(image, sigma, stride=1)


TOOLS: tuple[Tool[..., Any], ...] = (
    denoise_median, denoise_bilateral, denoise_wavelet, denoise_nlm, denoise_dct, denoise_dct_fine,
)  # fmt: skip


def _level(image: Image.Image, sigma: float | None) -> float:
    """The noise to remove: as given, or as measured plus a little, since clipping at white hides part of it."""
    if sigma is None:
        return max(2.0, 1.15 * probe(image).sigma)
    if not 0 < sigma <= 255:
        raise ValueError(f"sigma must lie in (0, 255], got {sigma!r}")
    return sigma


def _sliding_dct(image: Image.Image, sigma: float | None, stride: int) -> Image.Image:
    level = _level(image, sigma)
    return picture(per_channel(pixels(image), lambda plane: _threshold_blocks(plane, level, stride), pad=2 * _BLOCK))


def _threshold_blocks(plane: Array, sigma: float, stride: int) -> Array:
    """Yu and Sapiro's DCT denoising: hard threshold at 2.7 sigma, sparse blocks weigh more in the average."""
    basis = _dct_basis()
    total, weight = np.zeros_like(plane), np.full_like(plane, 1e-6)
    blocks = np.lib.stride_tricks.sliding_window_view(plane, (_BLOCK, _BLOCK))[::stride, ::stride]
    across = blocks.shape[1]
    for start in range(0, blocks.shape[0], _BAND):
        band = blocks[start : start + _BAND]
        coefficients = band.reshape(-1, _BLOCK * _BLOCK) @ basis.T
        kept = np.abs(coefficients) > 2.7 * sigma
        kept[:, 0] = True
        sparsity = 1.0 / kept.sum(axis=1, dtype=np.float32)
        cleaned = ((coefficients * kept) @ basis) * sparsity[:, None]
        shape = (band.shape[0], across)
        cleaned, sparsity = cleaned.reshape(*shape, _BLOCK, _BLOCK), sparsity.reshape(shape)
        for down in range(_BLOCK):
            rows = slice(start * stride + down, (start + shape[0] - 1) * stride + down + 1, stride)
            for right in range(_BLOCK):
                columns = slice(right, (across - 1) * stride + right + 1, stride)
                total[rows, columns] += cleaned[:, :, down, right]
                weight[rows, columns] += sparsity
    return total / weight


def _dct_basis() -> Array:
    """The 64 x 64 matrix of the orthonormal 8 x 8 DCT-II: one matrix product transforms a whole band of blocks."""
    k, n = np.arange(_BLOCK)[:, None], np.arange(_BLOCK)[None, :]
    rows = np.sqrt(2 / _BLOCK) * np.cos(np.pi * (2 * n + 1) * k / (2 * _BLOCK))
    rows[0] /= np.sqrt(2)
    return np.kron(rows, rows).astype(np.float32)
