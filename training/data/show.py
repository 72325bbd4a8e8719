"""For people: one trajectory (what was asked, the plan, every call with its price, the outcome), and statistics."""

from collections.abc import Iterator

from catp.cli.output import milliseconds, printable
from catp.cli.report import columns
from catp.training.data.stats import QUANTILES, DataStats
from catp.training.data.trajectory import InputInfo, Plan, Price, Trajectory

__all__ = ["record_text", "stats_text"]


def record_text(record: Trajectory) -> str:
    """Return a record as lines of text."""
    parts = [*_head(record), "plan", *_plan(record.plan), "calls", *_calls(record), "outcome", *_outcome(record)]
    return "\n".join(parts)


def stats_text(found: DataStats) -> str:
    """Return statistics as lines of text."""
    return "\n".join(_stats(found))


def _head(record: Trajectory) -> Iterator[str]:
    yield printable(record.trajectory_id)
    request, objective, policy, source = record.request, record.objective, record.policy, record.provenance
    split = record.split.model_dump(exclude_none=True) if record.split is not None else {}
    yield from columns([
        ("data set", f"{record.dataset}, task {record.group}, input {record.candidate_set}"),
        ("split", _listed(split) or "none"),
        ("request", f"{request.text or 'no words'}{f' ({request.lang})' if request.lang else ''}"),
        ("inputs", "; ".join(map(_input, request.inputs)) or "none"),
        ("wanted", ", ".join(request.outputs or request.wanted) or "not told"),
        ("objective", _listed(objective.model_dump(exclude_none=True)) or "not told"),
        ("policy", _listed(policy.model_dump(exclude_none=True)) or "not told"),
        ("source", _listed(source.model_dump(exclude_none=True)) or "not told"),
    ])  # fmt: skip


def _listed(values: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _input(item: InputInfo) -> str:
    facts = [f"{n:,} {unit}" for unit, n in (item.size or {}).items()]
    facts += [f"{n:,} {unit}" for unit, n in {"pixels": item.pixels, "chars": item.chars}.items() if n is not None]
    facts += [item.condition] if item.condition else []
    known = f" ({', '.join(facts)})" if facts else ""
    return f"{item.name or 'input'}: {item.type}{known}"


def _plan(plan: Plan) -> Iterator[str]:
    if plan.text is not None:
        yield from (f"  {printable(line)}" for line in plan.text.splitlines())
        return
    for node in plan.nodes:
        used = [f"{edge[2]}={edge[0]}" if len(edge) == 3 else edge[0] for edge in plan.edges if edge[1] == node.id]
        constants = [f"{name}={value!r}" for name, value in node.args.items()]
        yield printable(f"  {node.id} = {node.tool}({', '.join(used + constants)})")


def _calls(record: Trajectory) -> list[str]:
    tools = {node.id: node.tool for node in record.plan.nodes}
    rows = [("node", "tool", "status", "start", "time", "price", "")]
    for event in record.events:
        name = event.node if event.element is None else f"{event.node}[{event.element}]"
        notes = [f"attempt {event.attempt}"] if event.attempt > 1 else []
        notes += ["shared"] if event.shared else []
        notes += [event.error] if event.error else []
        rows.append((
            name, event.tool or tools.get(event.node, "?"), event.status, milliseconds(event.start_ms),
            milliseconds(event.end_ms - event.start_ms), _dollars(event.price_usd), ", ".join(notes),
        ))  # fmt: skip
    return columns(rows, right=(3, 4, 5)) if record.events else ["  none"]


def _outcome(record: Trajectory) -> list[str]:
    outcome = record.outcome
    score = "not scored" if outcome.score is None else f"{outcome.score:g}"
    score += f" ({outcome.metric})" if outcome.metric else ""
    score += ", suspect" if outcome.score_suspect else ""
    rows = [("status", outcome.status), ("score", score), ("price", _dollars(outcome.price_usd))]
    rows += [(f"  {name}", f"{value:g}") for name, value in (outcome.quality_parts or {}).items()]
    times = {"latency": outcome.latency_ms, "serial": outcome.serial_ms}
    rows += [(name, milliseconds(value)) for name, value in times.items() if value is not None]
    return columns(rows)


def _dollars(price: Price | None) -> str:
    return "unpriced" if price is None else f"${price:f}"


def _stats(found: DataStats) -> Iterator[str]:
    size = found.plans_per_input
    per_input = f" ({size['min']:g} to {size['max']:g} an input, mean {size['mean']:.1f})" if size else ""
    counts = {
        "tools": found.tools, "shapes": found.shapes, "statuses": found.statuses, "languages": found.languages,
        "policies": found.policies, "data sets": found.datasets, **{f"split {k}": v for k, v in found.splits.items()},
    }  # fmt: skip
    flaws = {"without a score": found.missing_scores, "with a suspect score": found.suspect_scores,
             "without a price": found.unpriced, "simulated": found.simulated}  # fmt: skip
    rows = [("records", f"{found.records:,}"), ("tasks", f"{found.tasks:,}"), ("inputs", f"{found.inputs:,}")]
    rows += [("plans", f"{found.distinct_plans:,} different{per_input}")]
    rows += [("of these", ", ".join(f"{n:,} {what}" for what, n in flaws.items() if n) or "nothing missing")]
    rows += [(name, ", ".join(f"{n:,} {what}" for what, n in tally.most_common())) for name, tally in counts.items()]
    yield from columns(rows)
    table = [("quantile", *(f"{q:.0%}" for q in QUANTILES))]
    table += [(name, *(f"{value:.6g}" for value in values)) for name, values in found.quantiles.items()]
    yield from columns(table, right=range(1, len(QUANTILES) + 1))
    if found.cheapest_best:
        table = [("alpha", *(f"{alpha:g}" for alpha in found.cheapest_best))]
        table += [("cheapest is best", *(f"{share:.1%}" for share in found.cheapest_best.values()))]
        yield from columns(table, right=range(1, len(found.cheapest_best) + 1))
        yield f"  inputs compared, with two plans or more: {found.inputs_compared:,}"
