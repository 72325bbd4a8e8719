"""OpenCATP's tools and its price of a call.

    price(call) = 2e-7 + ms * (M_cpu * p(M_cpu) + m_cpu * s + M_gpu * 3 p(M_gpu) + m_gpu * 3 s)    USD

M is the long-term memory of the tool in MB (a table measured on upstream's server), m the short-term memory of the
call, p the price per MB and ms of the smallest tier that M fits in, s the price of short-term memory. Source:
github.com/duowuyms/OpenCATP-LLM at a06e1f2, `src/config.py` and `src/catpllm/utils/cost_utils.py`. (A tier's price is
that of the whole tier, not of a MB: see training.md 1.2, defect 8. The figures are kept as they are published.)
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from catp.planlang.money import NANO_PER_USD
from catp.training.data.toolset import ToolInfo, Toolset

__all__ = ["PRICE_SCALE_USD", "TOOLS", "OpenCatpTool", "price_usd", "toolset"]

PRICE_SCALE_USD: Final = Decimal("0.5669374317944147")
"""The price that weighs as much as score 1: `MAX_COST` of upstream."""


@dataclass(frozen=True, slots=True)
class OpenCatpTool:
    """Types of a tool and its long-term memory in MB."""

    input: str
    output: str
    cpu_mb: float
    gpu_mb: float


TOOLS: Final[Mapping[str, OpenCatpTool]] = {
    "image_colorization": OpenCatpTool("image", "image", 1626.96875, 131.31689453125),
    "image_denoising": OpenCatpTool("image", "image", 1690.15625, 99.67431640625),
    "image_deblurring": OpenCatpTool("image", "image", 1693.83984375, 99.74462890625),
    "image_super_resolution": OpenCatpTool("image", "image", 1540.8515625, 47.52490234375),
    "image_classification": OpenCatpTool("image", "text", 1788.50390625, 330.2294921875),
    "image_captioning": OpenCatpTool("image", "text", 2449.8359375, 937.234375),
    "object_detection": OpenCatpTool("image", "text", 1684.6875, 234.7177734375),
    "machine_translation": OpenCatpTool("text", "text", 2388.72265625, 850.3095703125),
}

_TIERS: Final = (128, 512, 1024, 1536, 2048, 3072, 4096, 5120, 6144, 7168, 8192, 9216, 10240)
_TIER_USD: Final = (
    2.1e-9, 8.3e-9, 1.67e-8, 2.5e-8, 3.33e-8, 5e-8, 6.67e-8, 8.33e-8, 1e-7, 1.167e-7, 1.333e-7, 1.5e-7, 1.667e-7,
)  # fmt: skip
_SHORT_USD: Final = 3.02e-14
_GPU_FACTOR: Final = 3
_REQUEST_USD: Final = 2e-7


def price_usd(tool: str, ms: float, cpu_mb: float, gpu_mb: float) -> Decimal:
    """Return the price of one call in USD, to a nano-USD; memory is the short-term memory of the call."""
    short = cpu_mb * _SHORT_USD + gpu_mb * _GPU_FACTOR * _SHORT_USD
    usd = _REQUEST_USD + ms * (_usd_per_ms(TOOLS[tool]) + short)
    return Decimal(round(usd * NANO_PER_USD)) / NANO_PER_USD


def toolset() -> Toolset:
    """Return the tools as the toolset `opencatp-8`; `usd_per_ms` leaves the short-term memory out."""
    return Toolset(
        id="opencatp-8",
        tools=[
            ToolInfo(name=name, input=tool.input, output=tool.output, usd_per_ms=_usd_per_ms(tool))
            for name, tool in TOOLS.items()
        ],
    )


def _usd_per_ms(tool: OpenCatpTool) -> float:
    return tool.cpu_mb * _tier(tool.cpu_mb) + tool.gpu_mb * (_tier(tool.gpu_mb) * _GPU_FACTOR)


def _tier(mb: float) -> float:
    return _TIER_USD[min(bisect_left(_TIERS, mb), len(_TIERS) - 1)]
