"""One node of a run: its calls and ledger rows; apart from these its values, which may be large and hostile.

Texts are cut, media are named by their digest, and nothing of a value is ever markup: it is a JSON string.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from catp.dashboard.forms import usd
from catp.dashboard.read.alternatives import alternatives, price_rule
from catp.dashboard.read.node_calls import calls_page, ledger_page
from catp.planlang.nodes import Ref, Step, step_refs
from catp.planlang.parser import parse
from catp.store import queries
from catp.store.records import StoredValue
from catp.store.statements import query
from catp.store.store import RunStore

if TYPE_CHECKING:
    from catp.tools.catalogue import Catalogue

__all__ = ["node_io", "node_page", "node_part", "value_json"]

_TEXT = 20_000
_LARGEST = 8_000_000
_ELEMENTS = 100


def node_page(
    connection: Connection, run_id: str, step: str, store: str, catalogue: "Catalogue | None" = None
) -> dict[str, Any]:
    """Return calls and ledger rows of a node, and with a catalogue how it is priced and what could replace it.

    `attempts` and `ledger` are the first of `calls` and `rows`, up to 200 each; the sums are those of all rows, `sums`
    by attempt.

    Raises:
        KeyError: The run or the node is not there.
    """
    run = queries.find(connection, run_id, store)
    planned = _check(connection, run.plan_hash, run.id, step)
    made = query(
        connection, "SELECT tool, COUNT(*) AS n FROM calls WHERE run_id = ? AND step = ? GROUP BY tool", run.id, step
    )
    paid = query(
        connection, "SELECT attempt, COUNT(*) AS n, COUNT(amount_nano) AS priced, SUM(amount_nano) AS amount "
        "FROM costs WHERE run_id = ? AND step = ? GROUP BY attempt ORDER BY attempt", run.id, step,
    )  # fmt: skip
    used = dict.fromkeys([*(row.tool for row in made), *(str(a.tool) for a in (planned.attempts if planned else ()))])
    return {
        "run": run.id, "id": step,
        "attempts": calls_page(connection, run.id, step)["items"], "calls": sum(row.n for row in made),
        "ledger": ledger_page(connection, run.id, step)["items"], "rows": sum(row.n for row in paid),
        **_sum(paid),
        "sums": {row.attempt: _sum([row]) for row in paid},
        "prices": {} if catalogue is None else {tool: price_rule(catalogue, tool) for tool in used},
        "alternatives": alternatives(connection, catalogue, planned, run.id) if catalogue and planned else [],
    }  # fmt: skip


def node_part(
    connection: Connection, run_id: str, step: str, store: str, page: Callable[[Connection, str, str], dict[str, Any]]
) -> dict[str, Any]:
    """Return a page of the calls or ledger rows of a node; raise `KeyError` as `node_page` does."""
    run = queries.find(connection, run_id, store)
    _check(connection, run.plan_hash, run.id, step)
    return page(connection, run.id, step)


def _sum(parts: Sequence[Any]) -> dict[str, Any]:
    """The sum of the known amounts, None if there are none, and how many rows have no price."""
    known = [int(part.amount) for part in parts if part.amount is not None]
    return {"total": usd(sum(known)) if known else None, "unpriced": sum(part.n - part.priced for part in parts)}


def _check(connection: Connection, plan_hash: str, run_id: str, step: str) -> Step | None:
    """The step in the plan of the run; None if an earlier plan had it."""
    plan = parse(queries.plan_source(connection, plan_hash))
    planned = next((one for one in plan.steps if one.name == step), None)
    if planned is None and not any(found.step == step for found in queries.steps(connection, run_id)):
        raise KeyError(f"run {run_id} has no node {step[:100]!r}")
    return planned


def node_io(store: RunStore, run_id: str, step: str) -> dict[str, Any]:
    """Return `{"in", "out"}` of a node: one entry per value, or element of one."""
    run = store.find(run_id)
    planned = store.database.read(lambda connection: _check(connection, run.plan_hash, run.id, step))
    plan = parse(store.plan_source(run.plan_hash))
    inputs = {given.name for given in plan.inputs}
    kept = store.values(run.id)
    entries: list[dict[str, Any]] = []
    for slot, ref in _uses(planned):
        kind = "input" if ref.root in inputs else "step"
        entries += _entries(store, slot, ref.root, [v for v in kept if (v.kind, v.name) == (kind, ref.root)])
    own = [value for value in kept if (value.kind, value.name) == ("step", step)]
    return {"run": run.id, "id": step, "in": entries, "out": _entries(store, "result", step, own)}


def _uses(planned: Any) -> Iterator[tuple[str, Ref]]:
    seen = set()
    for slot, ref in [] if planned is None else step_refs(planned):
        if (slot, ref.root) not in seen:
            seen.add((slot, ref.root))
            yield slot, ref


def _entries(store: RunStore, port: str, source: str, values: list[StoredValue]) -> list[dict[str, Any]]:
    entries = [{"port": port, "from": source, **value_json(store, value)} for value in values[:_ELEMENTS]]
    if len(values) > _ELEMENTS:
        entries.append({"port": port, "from": source, "more": len(values) - _ELEMENTS})
    return entries


def value_json(store: RunStore, value: StoredValue) -> dict[str, Any]:
    """Return a value as pages show it: a text that is cut, or the digest of what is too large or no text."""
    about: dict[str, Any] = {
        "element": value.element, "mime": value.mime, "bytes": None, "text": None, "truncated": False,
        "artifact": value.sha256, "error": None,
    }  # fmt: skip
    size = None
    if value.sha256 is not None:
        size = store.database.read(
            lambda connection: query(connection, "SELECT bytes FROM artifacts WHERE sha256 = ?", value.sha256)
        )[0].bytes
        about["bytes"] = size
    textual = value.codec is not None or value.mime.startswith("text/") or "json" in value.mime
    if not textual or value.mime.startswith("image/") or (size or 0) > _LARGEST:
        return about
    try:
        data = value.read()
    except (ValueError, OSError) as error:  # changed, or gone
        return about | {"error": str(error)}
    text = _text(value.codec, value.mime, data)
    about |= {"bytes": len(data), "text": text[:_TEXT], "truncated": len(text) > _TEXT}
    return about


def _text(codec: str | None, mime: str, data: bytes) -> str:
    """What people read of a value; the exact form of a record is not for them."""
    if codec == "value/1":
        from catp.runtime.codec import DecodeError, decode
        from catp.runtime.codec_shown import shown

        try:
            kind, seen = shown(decode(codec, data))
            return _pretty(seen.decode()) if kind == "application/json" else f"({kind})"
        except DecodeError:  # a class that this process does not know
            pass
    text = data.decode("utf-8", "replace")
    return _pretty(text) if "json" in mime else text


def _pretty(text: str) -> str:
    """JSON with one member a line; what cannot be read stays as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text
