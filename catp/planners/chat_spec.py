"""What people write about a chat model: `openai:MODEL[@URL][#in=USD,out=USD,key=VARIABLE,timeout=SECONDS]`, and prices.

    openai:gpt-4o-mini#in=0.15,out=0.60
    openai:llama3.1:8b@http://localhost:11434/v1#timeout=120

Options stand behind `#`, which is never part of an address that is sent.
"""

from decimal import Decimal, InvalidOperation
from typing import Any

from catp.planlang.errors import nearest
from catp.tools.price import PerToken, Reported
from catp.tools.usage import PriceModel

__all__ = ["price_model", "read_spec", "shown_spec"]

_OPTIONS = {"in": "input_price", "out": "output_price", "key": "api_key_env", "timeout": "timeout_s"}


def read_spec(spec: str) -> tuple[str, dict[str, Any]]:
    """Return the model and the arguments of `ChatPlanner` in a spec; raise `ValueError` if it is none."""
    kind, colon, rest = spec.partition(":")
    rest, _, words = rest.partition("#")
    model, url = _split_url(rest)
    if kind != "openai" or not colon or not model:
        raise ValueError("write openai:MODEL, or openai:MODEL@http://localhost:8000/v1")
    return model, {**_options(words), **({"base_url": url} if url else {})}


def shown_spec(spec: str) -> str:
    """Return the spec without what stands where a password could."""
    before, at, after = spec.rpartition("@")
    scheme = before.find("://")
    return f"{before[: scheme + 3]}***@{after}" if at and scheme >= 0 else spec


def price_model(input_price: str | None, output_price: str | None) -> PriceModel:
    """Return the price of tokens, given per million; without prices it is what the provider states, if it does."""
    if input_price is None and output_price is None:
        return Reported()
    if input_price is None or output_price is None:
        raise ValueError("a chat model has two prices: give both input_price and output_price, or neither")
    return PerToken(input=_per_thousand(input_price, "input_price"), output=_per_thousand(output_price, "output_price"))


def _per_thousand(price: str, what: str) -> Decimal:
    try:
        amount = Decimal(price)
    except (InvalidOperation, TypeError, ValueError):
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{what} must be US dollars per million tokens such as '0.15', got {price!r}")
    return amount / 1000


def _split_url(rest: str) -> tuple[str, str]:
    """Model and address; models may hold an @ themselves (`@cf/meta/llama`)."""
    places = [place for mark in ("@http://", "@https://") if (place := rest.rfind(mark)) >= 0]
    return (rest[: max(places)], rest[max(places) + 1 :]) if places else (rest, "")


def _options(words: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for word in filter(None, words.split(",")):
        key, equals, value = word.partition("=")
        if key not in _OPTIONS or not equals:
            hint = nearest(key, _OPTIONS) or f"the options are {', '.join(_OPTIONS)}"
            raise ValueError(f"a chat planner has no option {key[:40]!r}: {hint}")
        found[_OPTIONS[key]] = value
    if "timeout_s" in found:
        try:
            found["timeout_s"] = float(found["timeout_s"])
        except ValueError:
            raise ValueError(f"timeout={found['timeout_s']}: give seconds") from None
    return found
