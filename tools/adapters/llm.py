"""Language models behind an OpenAI-compatible chat completions endpoint as tools.

    llm_tool("llm.translate", model="small-1", prompt="Translate into {language}:\\n{text}",
             params={"text": str, "language": str}, base_url="https://api.example/v1",
             price=PerToken(input="0.00015", output="0.0006"))

Tokens come from the answer's own `usage`; a price it states (`usage.cost`, in US dollars) is kept as reported.
"""

import base64
import io
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from catp.planlang.money import Money, usd
from catp.planlang.registry_view import Effect
from catp.tools.adapters.declare import declare, fill, missing_secrets, placeholders, told_lifetime
from catp.tools.adapters.http import HttpSender
from catp.tools.contract import Contract
from catp.tools.errors import ToolDefinitionError, WrongResult
from catp.tools.lifetime import Lifetime, definition_of
from catp.tools.price import Unpriced
from catp.tools.spec import BackendResult, ToolLimits, ToolSpec
from catp.tools.usage import PriceModel, Usage

__all__ = ["llm_tool"]

_CHARS_PER_TOKEN = 4.0
"""English text in common tokenisers; only for forecasts, never for billing."""
_MAX_BYTES = 16 << 20


def llm_tool(
    name: str,
    *,
    model: str,
    prompt: str,
    params: Mapping[str, Any],
    returns: Any = str,
    base_url: str = "https://api.openai.com/v1",
    api_key_env: str | None = "OPENAI_API_KEY",
    system: str | None = None,
    max_tokens: int = 512,
    temperature: float = 0.0,
    defaults: Mapping[str, Any] | None = None,
    description: str = "",
    capability: str = "",
    effects: Effect = "read",
    price: PriceModel | None = None,
    accuracy: float | None = None,
    timeout: float = 60.0,
    concurrency: int | None = None,
    rate: float | None = None,
    cache: Lifetime = False,
    version: str = "1",
) -> ToolSpec:
    """Make a tool of a prompt.

    Args:
        name: Full name.
        model: The model's name at the provider; part of the version that profiles are kept by.
        prompt: The user message; `{name}` stands for a parameter. Image parameters are sent as pictures.
        params: Annotation of each parameter.
        returns: `str` for the answer's text; anything else asks for JSON and reads it.
        base_url: The endpoint, up to `/v1`.
        api_key_env: Environment variable with the key, read at each call; None for an endpoint without one.
        system: The system message.
        max_tokens: Upper limit of the answer; it bounds the price.
        temperature: Sampling temperature; 0 is the most repeatable.
        defaults: Values of parameters that may be left out.
        description: What the tool does; default: the prompt.
        capability: What it is for.
        effects: `read` by default: answers may differ, nothing is changed.
        price: `PerToken(...)` or `Reported()`; default: unpriced.
        accuracy: Declared accuracy until one is measured.
        timeout: Seconds per call.
        concurrency: Calls at once, if limited.
        rate: Calls per second, if limited.
        cache: How long an answer may be used again, such as `"10m"` (see `catp.tools.lifetime`).
        version: Version for profiles and cached answers; the model's name is appended.
    """
    signature, types = declare(
        name, params, returns, defaults=defaults or {}, effects=effects, description=description or prompt,
        capability=capability,
    )  # fmt: skip
    unknown = [p for p in placeholders(prompt) if p not in params]
    if unknown:
        raise ToolDefinitionError(f"tool {name!r}: {{{unknown[0]}}} in the prompt is no parameter")
    headers = {"Authorization": f"Bearer {{env:{api_key_env}}}"} if api_key_env else {}
    body: dict[str, Any] = {"model": model, "max_tokens": max_tokens, "temperature": temperature}
    if signature.returns.name != "text":
        body["response_format"] = {"type": "json_object"}
    fixed_chars = len(prompt) + len(system or "")
    backend = _LlmBackend(
        Contract(signature, types), HttpSender(signature.name, headers, _MAX_BYTES),
        base_url.rstrip("/") + "/chat/completions", body, system, prompt, dict(defaults or {}),
    )  # fmt: skip
    return ToolSpec(
        signature, backend, Unpriced() if price is None else price, ToolLimits(concurrency, rate, timeout),
        f"{version}+{model}", capability, accuracy, types, unavailable=missing_secrets(headers),
        forecast=lambda size: _forecast(fixed_chars + size, max_tokens),
        cache_ttl_s=told_lifetime(name, cache), definition=definition_of(base_url, body, system, prompt, defaults),
    )  # fmt: skip


def _forecast(chars: int, max_tokens: int) -> tuple[Usage, Usage, Usage]:
    """Low, expected and p95 tokens before anything was measured: p95 assumes dense text and the longest answer."""

    def tokens(per_token: float, answer: float) -> Usage:
        return Usage(units={"tokens_in": float(math.ceil(chars / per_token)), "tokens_out": answer})

    return tokens(_CHARS_PER_TOKEN + 1, 1.0), tokens(_CHARS_PER_TOKEN, max_tokens / 4), tokens(1.0, float(max_tokens))


class _LlmBackend:
    def __init__(
        self, contract: Contract, sender: HttpSender, url: str, body: Mapping[str, Any], system: str | None,
        prompt: str, defaults: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self._contract, self._sender, self.endpoint, self.request = contract, sender, url, body
        self._system, self._prompt, self._defaults = system, prompt, defaults

    async def call(self, args: Mapping[str, Any], *, timeout: float) -> BackendResult:
        self._contract.check_args(args)
        messages = self._messages({**self._defaults, **args})
        request = {**self.request, "messages": messages}
        answer = await self._sender.send("POST", self.endpoint, timeout=timeout, json=request)
        usage = answer.usage
        try:
            body = json.loads(answer.body)
            usage = _metered(usage, body.get("usage") or {})
            value = self._value(body["choices"][0])
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            message = f"the answer cannot be read: {type(error).__name__}: {error}"
            raise WrongResult(self._sender.tool, message, usage=usage) from error
        return BackendResult(self._contract.check_result(value, usage), usage)

    def _messages(self, args: Mapping[str, Any]) -> list[dict[str, Any]]:
        pictures = {key: value for key, value in args.items() if hasattr(value, "save")}
        shown = {key: value for key, value in args.items() if key not in pictures and value is not None}
        text = fill(self._prompt, {k: v if isinstance(v, str) else json.dumps(v) for k, v in shown.items()})
        content: Any = text
        if pictures:
            content = [{"type": "text", "text": text}, *(_picture(image) for image in pictures.values())]
        user = {"role": "user", "content": content}
        return [{"role": "system", "content": self._system}, user] if self._system else [user]

    def _value(self, choice: Mapping[str, Any]) -> Any:
        text = choice["message"]["content"]
        if self._contract.signature.returns.name == "text":
            return text
        if choice.get("finish_reason") == "length":
            raise ValueError(f"it was cut off at {self.request['max_tokens']} tokens; raise max_tokens")
        return json.loads(text)

    async def close(self) -> None:
        await self._sender.close()


def _metered(usage: Usage, stated: Mapping[str, Any]) -> Usage:
    units = {
        ours: float(stated[theirs])
        for ours, theirs in (("tokens_in", "prompt_tokens"), ("tokens_out", "completion_tokens"))
        if stated.get(theirs) is not None
    }
    reported: Money | None = usd(stated["cost"]) if stated.get("cost") is not None else None
    return replace(usage, units=units, reported=reported)


def _picture(image: Any) -> dict[str, Any]:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
