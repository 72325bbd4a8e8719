"""What was seen of an engine, and what it told of requests, as JSON values: ms, ISO times, money as decimal strings."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from catp.dashboard.engine.follower import Seen
from catp.dashboard.forms import iso, usd, without_user
from catp.planlang.money import parse_usd
from catp.planners.served import Running, known_engine

__all__ = ["engine_of", "queue_json", "request_json", "seen_json"]

_SLO = ("ttft", "tpot", "e2e", "slack")
_CHUNKS = 32


def engine_of(option: str | None) -> Callable[[], Running | None]:
    """Return how the engine is found: a given address, none (`off`), or what agents would use."""
    if option is None:
        return known_engine
    found = None if option.lower() in ("off", "none") else Running(option.rstrip("/"), "")
    return lambda: found


def seen_json(seen: Seen) -> dict[str, Any]:
    """Return a look; `figures` are gauges and rates by name, `totals` counters since the engine was started."""
    url = None if seen.url is None else without_user(seen.url)
    return {
        "at": iso(round(seen.at * 1e9)), "t": round(seen.at, 3), "state": seen.state, "reason": seen.reason,
        "problem": seen.problem, "url": url, "device": seen.device, "model": seen.card.get("id"),
        "context": seen.card.get("context"), "plans": seen.card.get("plans"), "adapters": seen.card.get("adapters", []),
        "policy": seen.policy, "stalled": seen.stalled, "restarts_seen": seen.restarts_seen, "facts": _facts(seen),
        "alerts": [text for true, text in _alerts(seen) if true], "figures": dict(seen.figures),
        "totals": dict(seen.totals),
    }  # fmt: skip


def _facts(seen: Seen) -> list[str]:
    context = seen.card.get("context")
    known = [
        seen.device, context and f"{context:,} tokens of context", seen.policy and f"policy {seen.policy}",
        *seen.card.get("adapters", []),
    ]  # fmt: skip
    return [fact for fact in known if fact]


def _alerts(seen: Seen) -> list[tuple[bool, str]]:
    preempted = seen.figures.get("preempted") or 0
    return [
        (seen.stalled, "stalled: requests run and no step ends"),
        (preempted > 0, f"{preempted:,.0f} preempted in 30 s: memory is short"),
        (bool(seen.figures.get("drift")), "lengths have drifted from what is predicted"),
        (seen.restarts_seen > 0, f"restarted {seen.restarts_seen}×"),
    ]


def request_json(row: Any, now: float) -> dict[str, Any] | None:
    """Return a request as the dashboard tells of it, whatever the engine said; None if that has no id and arrival."""
    if not isinstance(row, dict):
        return None
    arrival = _number(row.get("arrival"))
    if not isinstance(row.get("id"), str) or arrival is None or not 0 <= arrival < 1e11:
        return None
    e2e = _ms(row.get("e2e"))
    return {
        **{name: _text(row.get(name)) for name in ("id", "kind", "endpoint", "tenant", "model", "adapter", "state",
                                                   "code")},
        "arrival": iso(round(arrival * 1e9)), "age_ms": max(0.0, round((now - arrival) * 1000, 3)),
        "queued_ms": _ms(row.get("queued")), "ttft_ms": _ms(row.get("ttft")), "tpot_ms": _ms(row.get("tpot")),
        "e2e_ms": e2e, "chunks": _chunks(row.get("chunks")),
        **{name: _count(row.get(name)) for name in ("prompt_tokens", "cached_tokens", "output_tokens", "preemptions")},
        "device_ms": _ms(row.get("device_seconds")), "cost": _money(row.get("cost_usd")),
        "slo": _slo(row.get("slo")), "met": _met(row.get("met")),
    }  # fmt: skip


def queue_json(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return how many requests wait, and for how long the oldest, by what is expected of them."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        if row["state"] == "waiting":
            name = ", ".join(f"{key} ≤ {limit / 1000:g} s" for key, limit in row["slo"].items()) or "no expectation"
            groups.setdefault(name, []).append(row["age_ms"])
    return [{"slo": name, "waiting": len(ages), "oldest_ms": max(ages)} for name, ages in sorted(groups.items())]


def _number(value: Any) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None


def _ms(value: Any) -> float | None:
    found = _number(value)
    return None if found is None or found < 0 else round(found * 1000, 3)


def _count(value: Any) -> int | None:
    found = _number(value)
    return None if found is None or not 0 <= found < 1e15 else int(found)


def _text(value: Any) -> str:
    return value[:200] if isinstance(value, str) else ""


def _money(value: Any) -> str | None:
    try:
        return usd(int(parse_usd(value[:60]))) if isinstance(value, str) else None
    except ValueError:
        return None


def _slo(value: Any) -> dict[str, float]:
    known = value if isinstance(value, dict) else {}
    return {name: limit for name in _SLO if (limit := _ms(known.get(name))) is not None}


def _met(value: Any) -> dict[str, bool]:
    known = value if isinstance(value, dict) else {}
    return {name: known[name] for name in _SLO if isinstance(known.get(name), bool)}


def _chunks(value: Any) -> list[list[float]]:
    """Begin and length in ms, and tokens, of each chunk that makes sense."""
    found = []
    for one in value[:_CHUNKS] if isinstance(value, list) else ():
        if isinstance(one, list) and len(one) == 3:
            begin, took, tokens = _ms(one[0]), _ms(one[1]), _count(one[2])
            if begin is not None and took is not None and tokens is not None:
                found.append([begin, took, float(tokens)])
    return found
