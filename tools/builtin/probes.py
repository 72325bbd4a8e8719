"""How damaged is this picture? Cheap measurements that a planner may trust before it spends anything.

Only numpy and Pillow are used, so the probe also works where the zoo's own packages are not installed. All measures
run on at most one megapixel cut from the middle: noise, specks and blur are the same everywhere in a scan.
"""

from PIL import Image

from catp.tools.builtin.arrays import np
from catp.tools.builtin.pixels import Array, grey
from catp.tools.builtin.records import NoiseEstimate

__all__ = ["CONDITIONS", "probe"]

CONDITIONS = ("clean", "noisy", "very_noisy", "impulse", "blurred", "blurred_noisy", "small")
"""Every condition label an image can have."""

_WINDOW = 1000
_NOISY, _VERY_NOISY, _IMPULSE, _BLURRED, _SMALL_SIDE, _SMALL_PITCH = 6.0, 33.0, 0.004, 1.15, 100, 16
_SPECK = 60
_REBLUR = 1.2


def probe(image: Image.Image) -> NoiseEstimate:
    """Measure noise, specks and blur, and name the condition.

    Noise is the median absolute diagonal Haar coefficient (Donoho and Johnstone 1994); blur compares the gradient at
    the strongest edges before and after a known extra blur (Zhuo and Sim 2011), with the smoothing that noise makes
    necessary subtracted again.
    """
    array = _middle(grey(image)).astype(np.float32)
    impulse = _specks(array)
    if impulse >= _IMPULSE:
        array = _median3(array)
    sigma = _noise(array)
    blur = _blur(array, sigma)
    return NoiseEstimate(
        round(sigma, 2), round(impulse, 4), round(blur, 2), _condition(image, array, sigma, impulse, blur)
    )


def _condition(image: Image.Image, array: Array, sigma: float, impulse: float, blur: float) -> str:
    if impulse >= _IMPULSE:
        return "impulse"
    if blur >= _BLURRED:
        return "blurred_noisy" if sigma >= _NOISY else "blurred"
    if sigma >= _NOISY:
        return "very_noisy" if sigma >= _VERY_NOISY else "noisy"
    return "small" if min(image.size) < _SMALL_SIDE or 0 < _line_pitch(array) < _SMALL_PITCH else "clean"


def _middle(array: Array) -> Array:
    top, left = (max(0, (size - _WINDOW) // 2) for size in array.shape)
    return array[top : top + _WINDOW, left : left + _WINDOW]


def _median3(array: Array) -> Array:
    from PIL import ImageFilter

    return np.asarray(Image.fromarray(array.astype(np.uint8)).filter(ImageFilter.MedianFilter(3)), dtype=np.float32)


def _specks(array: Array) -> float:
    """The share of lone pixels that are fully black or white, if lone pixels of other brightness are fewer.

    A pixel is alone if it differs from the median around it and at most one neighbour is like it: strokes of letters
    differ from the median too, but continue.
    """
    rows, columns = np.nonzero(np.abs(array - _median3(array)) > _SPECK)
    values, framed = array[rows, columns], np.pad(array, 1, mode="edge")
    alike = np.zeros(len(values), dtype=np.int8)
    for down, right in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2)):
        alike += np.abs(framed[rows + down, columns + right] - values) < _SPECK
    lone = values[alike <= 1]
    extreme = int(((lone <= 4) | (lone >= 251)).sum())
    return extreme / array.size if extreme > 0.45 * len(lone) else 0.0


def _noise(array: Array) -> float:
    height, width = (size // 2 * 2 for size in array.shape)
    if not height or not width:
        return 0.0
    even = array[:height, :width]
    diagonal = (even[::2, ::2] - even[::2, 1::2] - even[1::2, ::2] + even[1::2, 1::2]) / 2
    return float(np.median(np.abs(diagonal)) / 0.6745)


def _blur(array: Array, sigma: float) -> float:
    """The standard deviation in pixels of the blur at the sharpest edges; 0 if there are no edges."""
    smoothing = min(2.5, 0.35 * np.sqrt(sigma)) if sigma > 2 else 0.0
    plane = _smooth(array, smoothing)
    before, after = _gradient(plane), _gradient(_smooth(plane, _REBLUR))
    sharpest = 0.97 if smoothing else 0.99
    strong = before >= max(12.0, float(np.quantile(before, sharpest)))
    if strong.sum() < 20:
        return 0.0
    ratio = float(np.median(before[strong] / np.maximum(after[strong], 1e-3)))
    if ratio <= 1.01:
        return 0.0
    total = _REBLUR**2 / (ratio**2 - 1)
    return float(np.sqrt(max(0.0, total - smoothing**2)))


def _smooth(array: Array, sigma: float) -> Array:
    if sigma <= 0:
        return array
    radius = max(1, int(3 * sigma + 0.5))
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    for axis in (0, 1):
        widths = [(radius, radius) if a == axis else (0, 0) for a in (0, 1)]
        padded, size = np.pad(array, widths, mode="symmetric"), array.shape[axis]
        array = sum(
            tap * (padded[i : i + size] if axis == 0 else padded[:, i : i + size]) for i, tap in enumerate(taps)
        )
    return array


def _gradient(array: Array) -> Array:
    if min(array.shape) < 3:
        return np.zeros((1, 1), dtype=np.float32)
    across, down = array[1:-1, 2:] - array[1:-1, :-2], array[2:, 1:-1] - array[:-2, 1:-1]
    return np.asarray(np.hypot(across, down) / 2)


def _line_pitch(array: Array) -> int:
    """The distance in pixels between lines of text, or 0 if the rows show no such rhythm."""
    profile = array.mean(axis=1)
    profile = profile - profile.mean()
    energy = float((profile**2).sum())
    if len(profile) < 40 or energy < 1.0:
        return 0
    lags = np.correlate(profile, profile, "full")[len(profile) - 1 :] / energy
    peaks = [
        lag
        for lag in range(4, min(120, len(lags) - 1))
        if lags[lag] > 0.35 and lags[lag] >= lags[lag - 1] and lags[lag] > lags[lag + 1]
    ]
    return max(peaks, key=lambda lag: float(lags[lag]), default=0)
