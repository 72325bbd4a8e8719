"""What the figures of an engine are called, their units, how they are computed, and which are drawn together.

Units: `n` a count, `%` a share, `r` by second, `ms`.
"""

from typing import Any

__all__ = ["described"]

_NOW = (
    ("Running", "n", "running", ""),
    ("Branches", "n", "sequences", "Sequences of tokens that are written; a request for plans has several."),
    ("Waiting", "n", "waiting", ""),
    ("Waiting tokens", "n", "waiting_tokens", "Prompt tokens of the requests that wait."),
    ("Last step", "n", "step_tokens", "Tokens that it computed."),
    ("Token budget", "n", "token_budget", "Most tokens that a step may have now."),
    ("KV in use", "%", "kv_used", "Share of all blocks of the cache of keys and values."),
    ("Blocks used", "n", "kv_blocks_used", ""),
    ("Blocks cached", "n", "kv_blocks_cached", "They hold a known prefix, and are given up when room is needed."),
    ("Blocks free", "n", "kv_blocks_free", ""),
    ("Prefix cache", "%", "prefix_hit", "Prompt tokens found in it, of requests that ended in the last 30 s."),
    ("Preempted", "n", "preempted", "Requests that lost their blocks in the last 30 s, and are computed again."),
    ("Decision p50", "ms", "decision_p50_ms", "Time to schedule a step: median of the last 512."),
    ("Decision p99", "ms", "decision_p99_ms", "Time to schedule a step: 99th percentile of the last 512."),
    ("Device busy", "%", "busy", "Device seconds of steps by second of the clock."),
    ("Policy fallbacks", "n", "fallbacks", "Orders made by first come, first served in the policy's stead, in all."),
)
_QUANTILES = ("p50", "p95", "p99")
_PANELS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Requests", "n", ("running", "waiting", "sequences")),
    ("KV blocks in use", "%", ("kv_used",)),
    ("Tokens computed", "r", ("prefill_tok_s", "decode_tok_s")),
    ("Preemptions", "r", ("preemptions_s",)),
    *((title, "ms", tuple(f"{name}_{q}_ms" for q in _QUANTILES)) for title, name in (
        ("Time to first token", "ttft"), ("Time between tokens", "tpot"), ("Time to the end", "e2e"),
        ("Time in the queue", "queue"),
    )),
    ("Time of a step", "ms", ("step_ms", "decision_p99_ms")),
)  # fmt: skip


_REQUESTS = (
    "arrival:arrived:at|state:state|chunks:queue, prefill, decode|ttft_ms:first token:ms|e2e_ms:end:ms|slo:expected|"
    "kind:kind|tenant:tenant|prompt_tokens:prompt:n|cached_tokens:cached:n|output_tokens:output:n|"
    "preemptions:preempted:n|cost:cost:$"
)
_KEPT = (
    ("met", "met:n"), ("missed", "missed:n"), ("attainment", "share:%"), ("budget_left", "error budget left:%"),
)  # fmt: skip


def described() -> dict[str, Any]:
    """Return figures, panels and columns of tables (key:title:unit) in the order in which they are shown."""
    return {
        "requests": _REQUESTS,
        "slo": "|".join(["slo:of", *(f"{of}.{key}:{title}" for of in ("hour", "day") for key, title in _KEPT)]),
        "figures": [{"title": title, "unit": unit, "key": key, "how": how} for title, unit, key, how in _NOW],
        "panels": [
            {"title": title, "unit": unit, "lines": [{"key": key, "label": _label(key)} for key in keys]}
            for title, unit, keys in _PANELS
        ],
    }


def _label(key: str) -> str:
    name = key.removesuffix("_ms").removesuffix("_s").removesuffix("_tok").replace("_", " ")
    return next((q for q in _QUANTILES if name.endswith(f" {q}") and not name.startswith("decision")), name)
