"""Step times of hardware by name: measured times of linear layers, and arithmetic for attention.

The tables are 32 times the sum of the median times of one layer's operators (projections, rotation, MLP, norms) of
Llama-2-7B, fp16, one device, by tokens in the step, as Microsoft measured them for Vidur (github.com/microsoft/vidur,
data/profiling/compute/*/meta-llama/Llama-2-7b-hf/mlp.csv, MIT licence; Agrawal et al., MLSys 2024). They are thinned to
36 points each; between them times are interpolated: within 2 % of all 259 in the mean, 9 % at worst.

Attention is not in those files. It is computed: 4 x width x layers flops per query-key pair of a chunk, and 2 x width x
layers x 2 bytes read per key that a decoding row sees, at half the peak flops and 0.7 of the peak bandwidth; the host's
work between steps is 2 ms. These three are assumptions; the first two were set so that the saturated throughput on
Azure's trace and the attainment of FCFS are near published prototype figures (docs/serving-simulator.md).
"""

import json
from bisect import bisect_left
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Protocol

from catp.serving.policies.costmodel import CostModel, Load
from catp.serving.policies.fitting import fit

__all__ = ["PROFILES", "Profile", "ProfileError", "StepTime", "load_profile"]

_WIDTH, _LAYERS = 4096, 32
_PAIR_FLOPS = 4 * _WIDTH * _LAYERS
_KEY_BYTES = 4 * _WIDTH * _LAYERS
_HOST = 2e-3
_LONGEST = 4096


class ProfileError(ValueError):
    """There is no such profile, or its file is broken; the message says how to go on."""


class StepTime(Protocol):
    """How long a step takes: a `CostModel` fitted to an engine, or a `Profile`."""

    def step(self, load: Load) -> float:
        """Return the seconds of a step."""
        ...


@dataclass(frozen=True)
class Profile:
    """A device with a model.

    Args:
        name: what it is called.
        table: (tokens in a step, milliseconds of all linear layers), ascending.
        pair: seconds per query-key pair of a chunk.
        key: seconds per key that a decoding row reads.
        kv_tokens: tokens for whose keys and values there is memory.
        host: seconds per step in which the device waits.
    """

    name: str
    table: tuple[tuple[int, float], ...]
    pair: float
    key: float
    kv_tokens: int
    host: float = _HOST
    _linear: list[float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_linear", [self._interpolated(count) for count in range(_LONGEST + 1)])

    def step(self, load: Load) -> float:
        """Return the seconds of a step; beyond the table's end time grows with tokens in proportion."""
        if load.tokens <= _LONGEST:
            linear = self._linear[load.tokens]
        else:
            linear = self._linear[_LONGEST] * load.tokens / _LONGEST
        return linear + self.host + self.pair * load.attended + self.key * load.kv_tokens

    def costs(self) -> CostModel:
        """Return the linear model that policies plan with: fitted to steps as engines do them, as a real one's is."""
        return fit([(load, self.step(load)) for load in _loads()]).costs

    def _interpolated(self, tokens: int) -> float:
        place = bisect_left(self.table, (tokens, 0.0))
        if place == 0:
            return self.table[0][1] / 1e3
        (left, low), (right, high) = self.table[place - 1], self.table[place]
        return (low + (high - low) * (tokens - left) / (right - left)) / 1e3


def _device(name: str, teraflops: float, gigabytes_s: float, kv_tokens: int, table: str) -> Profile:
    points = [point.split(":") for point in table.split()]
    return Profile(
        name,
        tuple((int(tokens), float(ms)) for tokens, ms in points),
        _PAIR_FLOPS / (0.5 * teraflops * 1e12),
        _KEY_BYTES / (0.7 * gigabytes_s * 1e9),
        kv_tokens,
    )


PROFILES = {
    one.name: one
    for one in (
        _device("a100-llama2-7b", 312, 2039, 111_000,
            "1:9.28 2:8.96 64:9.70 72:11.36 128:12.24 136:17.58 160:17.82 184:15.81 192:15.92 200:17.86 256:17.81 "
            "264:22.42 376:23.07 384:23.57 392:30.02 448:32.19 472:31.04 480:32.93 488:31.22 512:33.36 528:38.14 "
            "576:37.23 592:40.94 640:41.30 656:46.27 768:46.03 776:54.91 848:60.45 920:58.34 960:61.34 976:68.83 "
            "1024:67.94 1280:77.12 1312:88.93 2048:133.42 4096:258.38"),
        _device("h100-llama2-7b", 989, 3350, 111_000,
            "1:5.60 64:5.86 72:7.20 96:7.30 104:6.35 128:6.37 136:8.48 144:7.57 152:7.36 192:7.41 200:9.10 256:9.15 "
            "320:9.76 328:10.98 368:10.94 376:11.58 384:11.04 392:12.54 400:12.69 512:11.98 520:15.39 640:15.71 "
            "648:19.23 760:18.69 776:20.27 832:21.10 856:20.16 904:21.57 1024:21.02 1040:25.10 1136:27.84 1280:26.46 "
            "1296:30.54 2048:40.32 2304:51.79 4096:83.47"),
        _device("a40-llama2-7b", 150, 696, 57_000,
            "1:23.94 32:26.45 40:29.10 64:30.05 80:30.37 88:29.34 128:30.27 136:38.11 144:34.78 176:35.71 184:34.34 "
            "192:34.88 200:41.04 232:41.42 256:44.58 264:50.46 336:51.49 384:54.98 392:67.25 416:66.26 512:71.10 "
            "520:81.06 576:79.34 584:89.68 640:92.10 648:95.84 768:99.82 800:103.79 808:113.82 960:122.13 968:134.24 "
            "1024:136.86 2048:259.49 3488:451.73 3712:443.31 4096:522.88"),
    )
}  # fmt: skip
"""Known devices. Memory for keys: 0.9 of the device (80, 80 and 48 GB) less 13.5 GB of weights, at 512 KiB a token."""


def load_profile(name: str) -> tuple[StepTime, CostModel, int]:
    """Return step times, the linear model that policies plan with, and tokens of memory for keys.

    Args:
        name: of `PROFILES`; or a JSON file with the coefficients of a `CostModel` in seconds, fitted to an engine's own
            log of steps, and `kv_tokens`.

    Raises:
        ProfileError: it is neither.
    """
    if name in PROFILES:
        profile = PROFILES[name]
        return profile, profile.costs(), profile.kv_tokens
    path = Path(name)
    if not path.is_file():
        raise ProfileError(f"no profile {name!r}: known are {', '.join(PROFILES)}, or name a JSON file of coefficients")
    wanted = [field.name for field in fields(CostModel)]
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        costs = CostModel(**{field: float(data[field]) for field in wanted})
        memory = int(data["kv_tokens"])
    except (KeyError, TypeError, ValueError) as error:
        raise ProfileError(f"profile {name}: {error!r}; it needs numbers {', '.join(wanted)} and kv_tokens") from error
    if memory < 1 or min(getattr(costs, field) for field in wanted) < 0 or not costs.step(Load(tokens=1)) > 0:
        raise ProfileError(f"profile {name}: coefficients are at least 0, not all 0, and kv_tokens is at least 1")
    return costs, costs, memory


def _loads() -> list[Load]:
    """Return steps from a lone decoding row to a large chunk beside many."""
    return [
        Load(chunk + decodes, chunk * (context + chunk / 2), decodes, decodes * context)
        for chunk in (0, 16, 64, 128, 256, 512, 1024, 2048)
        for decodes in (1, 8, 32, 64, 128)
        for context in (256, 1024, 2048)
    ]
