"""What must hold within one record: money, time, events, status, score, policy. The graph's rules are in `rules_graph`.

    price     outcome.price_usd = sum of the events' prices, within max(1e-9 USD, 1e-5 of the sum): amounts that were
              written with six significant digits agree to that; exact ones agree exactly
    times     serial_ms = sum of the events' times, within 1 us per event (times are written to the microsecond)
    latency   longest path <= latency_ms <= serial_ms, within the same

The longest path is a lower bound that holds for concurrent runs as well: attempts of one call count by the time they
cover together, of a map's elements only the slowest, and between two maps element i waits only for element i.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

from catp.planlang.nodes import Plan as PlanTree
from catp.planlang.nodes import step_refs
from catp.training.data.problems import Problem, shown
from catp.training.data.trajectory import Event, Trajectory

__all__ = ["record_problems"]

PRICE_RELATIVE = Decimal("1e-5")
PRICE_ABSOLUTE = Decimal("1e-9")
TIME_PER_EVENT_MS = 1e-3
TIME_RELATIVE = 1e-6
LOGPROB_TOLERANCE = 1e-3
LONGEST_MS = 30 * 86_400_000.0

_DONE = ("ok", "cached")


def record_problems(record: Trajectory, text: PlanTree | None, order: list[str] | None) -> Iterator[Problem]:
    """Yield what is wrong with a record in itself.

    Args:
        record: the record.
        text: its plan in the plan language, if it has one that can be read.
        order: the nodes of its graph, parents first, if it has no cycle.
    """
    yield from _prices(record)
    yield from _events(record)
    yield from _times(record, order)
    yield from _status(record, text)
    yield from _scores(record)
    yield from _policy(record)
    yield from _moment(record)


def _prices(record: Trajectory) -> Iterator[Problem]:
    scale, budget = record.objective.price_scale_usd, record.objective.budget_usd
    if scale is not None and scale <= 0:
        fix = "write the price that weighs as much as quality 1 at alpha 0.5"
        yield Problem("amount", "objective.price_scale_usd", shown(scale), "a price scale is positive", fix)
    if budget is not None and budget < 0:
        yield Problem("amount", "objective.budget_usd", shown(budget), "a budget is not negative", "write the budget")
    total, prices = record.outcome.price_usd, [event.price_usd for event in record.events]
    known = [price for price in prices if price is not None]
    if len(known) < len(prices):
        if total is not None:
            where = next(i for i, price in enumerate(prices) if price is None)
            why = f"events[{where}] has no price, so the sum is not known"
            yield Problem("price", "outcome.price_usd", shown(total), why, "leave it out, or add the event's price")
        return
    if total is None:
        if prices:
            yield Problem("price", "outcome.price_usd", "nothing", "every event has a price", f"write {sum(known)}")
        return
    exact = sum(known, Decimal(0))
    if abs(total - exact) > max(PRICE_ABSOLUTE, PRICE_RELATIVE * exact):
        why = f"the events' prices sum to {exact:f}"
        yield Problem("price", "outcome.price_usd", f"{total:f}", why, f"write {exact:f}, or mend the events")


def _events(record: Trajectory) -> Iterator[Problem]:
    nodes = {node.id for node in record.plan.nodes}
    seen: set[tuple[str, int | None, int, str | None, float]] = set()
    for number, event in enumerate(record.events):
        at = f"events[{number}]"
        if event.node not in nodes:
            known = f"nodes are {', '.join(sorted(nodes)) or 'none'}"
            yield Problem("events", f"{at}.node", shown(event.node), "the plan has no such node", known)
        if event.start_ms > event.end_ms:
            why = f"the call ends at {event.end_ms:g} ms, before it starts"
            yield Problem("times", f"{at}.start_ms", shown(event.start_ms), why, "write milliseconds since the start")
        if event.end_ms > LONGEST_MS:
            why = "a run of more than 30 days"
            yield Problem("times", f"{at}.end_ms", shown(event.end_ms), why, "write milliseconds since the start")
        if event.status in _DONE and event.error is not None:
            yield Problem("status", f"{at}.error", shown(event.error), f"an error of a call that is {event.status}",
                          "write another status, or leave the error out")  # fmt: skip
        key = (
            event.node,
            event.element,
            event.attempt,
            event.tool,
            event.start_ms,
        )  # numbers begin anew after a resume
        if key in seen:
            yield Problem("events", f"{at}.attempt", shown(event.attempt), f"attempt of {event.node!r} told twice",
                          "number attempts from 1 and a map's elements from 0")  # fmt: skip
        seen.add(key)


def _times(record: Trajectory, order: list[str] | None) -> Iterator[Problem]:
    outcome, spent = record.outcome, sum(event.end_ms - event.start_ms for event in record.events)
    if not record.events or any(event.start_ms > event.end_ms for event in record.events):
        return
    slack = TIME_PER_EVENT_MS * (len(record.events) + 1) + TIME_RELATIVE * spent
    serial, latency = outcome.serial_ms, outcome.latency_ms
    if serial is not None and abs(serial - spent) > slack:
        why = f"the events' times sum to {spent:.3f} ms"
        yield Problem("times", "outcome.serial_ms", shown(serial), why, f"write {spent:.3f}, or mend the events")
    if latency is None:
        return
    longest = 0.0 if order is None else _longest(record, order)
    if latency < longest - slack:
        why = f"the longest path through the graph takes {longest:.3f} ms"
        yield Problem("latency", "outcome.latency_ms", shown(latency), why, "write the time of the critical path")
    if latency > spent + slack:
        why = f"more than all calls one after another ({spent:.3f} ms)"
        yield Problem("latency", "outcome.latency_ms", shown(latency), why, "write the time of the critical path")


def _longest(record: Trajectory, order: list[str]) -> float:
    """A lower bound on the time of the critical path, in milliseconds."""
    calls: dict[str, dict[int | None, list[Event]]] = defaultdict(lambda: defaultdict(list))
    for event in record.events:
        calls[event.node][event.element].append(event)
    parents: dict[str, list[str]] = defaultdict(list)
    for edge in record.plan.edges:
        parents[edge[1]].append(edge[0])
    done: dict[str, dict[int | None, float]] = {}
    for node in order:
        used = [done[parent] for parent in parents[node] if parent in done]
        mine = calls.get(node) or {None: []}
        done[node] = {
            e: _covered(events) + max((_ready(u, e) for u in used), default=0.0) for e, events in mine.items()
        }
    return max((max(times.values()) for times in done.values()), default=0.0)


def _ready(parent: dict[int | None, float], element: int | None) -> float:
    """When what a call uses of a parent is there: of a map's element, perhaps only the same element."""
    if element is None or None in parent:
        return max(parent.values())
    return parent.get(element, 0.0)


def _covered(events: list[Event]) -> float:
    """The time that calls cover together: hedged attempts overlap."""
    total, until = 0.0, -math.inf
    for event in sorted(events, key=lambda event: event.start_ms):
        total += max(0.0, event.end_ms - max(until, event.start_ms))
        until = max(until, event.end_ms)
    return total


def _status(record: Trajectory, text: PlanTree | None) -> Iterator[Problem]:
    outcome, events = record.outcome, record.events
    if not events:  # a plan that was written down, not run
        measured = {"price_usd": outcome.price_usd, "latency_ms": outcome.latency_ms, "serial_ms": outcome.serial_ms}
        for name, value in measured.items():
            if value and record.plan.nodes:
                yield Problem("events", "events", "[]", f"outcome.{name} is {value}, but no call is told", "add them")
        return
    done = {event.node for event in events if event.status in _DONE}
    if outcome.status == "ok":
        told, may_fail = {event.node for event in events}, _optional(text)
        for number, node in enumerate(record.plan.nodes):
            if node.id not in done and node.id not in may_fail:
                why = "none of its calls succeeded" if node.id in told else "it has no event"
                yield Problem("status", f"plan.nodes[{number}]", shown(node.id), f"the plan is ok, but {why}",
                              "add its event, or write another outcome.status")  # fmt: skip
    elif outcome.status == "failed":
        if outcome.score:
            yield Problem("status", "outcome.score", shown(outcome.score), "a score, though the plan failed",
                          "write 0, or status degraded")  # fmt: skip
        succeeded = all(event.status in _DONE for event in events)
        if succeeded and all(node.id in done for node in record.plan.nodes) and not _guarded(text):
            yield Problem("status", "outcome.status", shown("failed"), "every step succeeded", "write ok or degraded")


def _optional(text: PlanTree | None) -> set[str]:
    """Steps that an ok run may do without: conditional ones, those with another value, and what uses them."""
    found: set[str] = set()
    for step in text.steps if text is not None else ():
        refs = [ref for _, ref in step_refs(step)]
        found |= {ref.root for ref in refs if ref.optional}
        if step.when or step.otherwise is not None or any(ref.root in found for ref in refs):
            found.add(str(step.name))
    return found


def _guarded(text: PlanTree | None) -> bool:
    """True if a step may refuse what its call returned."""
    return text is not None and any(attempt.accept for step in text.steps for attempt in step.attempts)


def _scores(record: Trajectory) -> Iterator[Problem]:
    outcome = record.outcome
    parts = {f"outcome.quality_parts.{name}": value for name, value in (outcome.quality_parts or {}).items()}
    for field, value in {"outcome.score": outcome.score, **parts}.items():
        if value is None or 0 <= value <= 1 or (value > 1 and outcome.score_suspect):
            continue
        yield Problem("score", field, shown(value), "a score lies in [0, 1]",
                      "scale it, or mark it with score_suspect")  # fmt: skip


def _policy(record: Trajectory) -> Iterator[Problem]:
    chance, logarithm = record.policy.propensity, record.policy.logprob
    if chance is None or logarithm is None:
        return
    if abs(math.log(chance) - logarithm) > LOGPROB_TOLERANCE:
        why = f"the logarithm of propensity {chance:g} is {math.log(chance):.6g}"
        yield Problem("propensity", "policy.logprob", shown(logarithm), why, "make the two agree, or leave one out")


def _moment(record: Trajectory) -> Iterator[Problem]:
    logged = record.provenance.logged_at
    if logged is None:
        return
    try:
        sane = 2000 <= datetime.fromisoformat(logged).year < 2100
    except ValueError:
        sane = False
    if not sane:
        fix = "write it as 2026-07-31T12:00:00Z"
        yield Problem("times", "provenance.logged_at", shown(logged), "not a moment of this century", fix)
