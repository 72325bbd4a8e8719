"""What an answer took, as OpenAI's `usage`, with device seconds and money under `catp`."""

from collections.abc import Iterable, Mapping
from typing import Any

from catp.planlang.money import Money, format_usd
from catp.serving.metering.prices import DevicePrice
from catp.serving.server.events import Seconds, Usage

__all__ = ["usage_form"]


def usage_form(usages: Iterable[Usage], price: DevicePrice) -> Mapping[str, Any]:
    """Return the sum of what tickets took; the price is null if a second has none."""
    known = list(usages)
    seconds = sum((usage.seconds for usage in known), Seconds())
    prompt, output = sum(usage.prompt_tokens for usage in known), sum(usage.output_tokens for usage in known)
    spent = [price.spent(usage.seconds) for usage in known]
    priced = [one.total for one in spent if one is not None]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": sum(usage.cached_tokens for usage in known)},
        "catp": {
            "device_seconds": round(seconds.total, 9),
            "price_usd": format_usd(Money(sum(priced))) if len(priced) == len(spent) else None,
            "forced_tokens": sum(usage.forced_tokens for usage in known),
            "queue_seconds": next((usage.queued for usage in known if usage.queued is not None), None),
        },
    }
