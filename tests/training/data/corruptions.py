"""Ways to damage a data set, each with what the validator must say: the line, the field and the rule.

A damage takes the records as JSON objects and a generator to choose with, and changes them in place. Those of files
take the bytes of the file instead.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tests.training.data.making import CHAIN, DIAMOND

Records = list[dict[str, Any]]


class Told(NamedTuple):
    """What must be found. `line` counts from 1."""

    line: int
    field: str
    rule: str


RECORD_DAMAGES: dict[str, Callable[[Records, np.random.Generator], Told]] = {}
FILE_DAMAGES: dict[str, Callable[[bytes, np.random.Generator], tuple[bytes, Told]]] = {}


def damage(function: Callable[[Records, np.random.Generator], Told]) -> Callable[..., Told]:
    RECORD_DAMAGES[function.__name__] = function
    return function


def file_damage(function: Callable[[bytes, np.random.Generator], tuple[bytes, Told]]) -> Callable[..., Any]:
    FILE_DAMAGES[function.__name__] = function
    return function


def pick(found: Records, rng: np.random.Generator, fits: Callable[[dict[str, Any]], bool] = lambda r: True) -> int:
    return int(rng.choice([n for n, record in enumerate(found) if fits(record)]))


def written(record: dict[str, Any]) -> bool:
    return "text" in record["plan"]


def bare(record: dict[str, Any]) -> bool:
    return not written(record)


def many_edges(record: dict[str, Any]) -> bool:
    return len(record["plan"]["nodes"]) > 1


@damage
def cycle(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng, lambda r: bare(r) and r["plan"]["nodes"][0]["tool"] == "denoise")
    plan = found[n]["plan"]
    plan["edges"].append([plan["nodes"][-1]["id"], plan["nodes"][0]["id"]])
    return Told(n + 1, "plan.edges", "cycle")


@damage
def step_that_uses_itself(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng, bare)
    node = found[n]["plan"]["nodes"][0]["id"]
    found[n]["plan"]["edges"].append([node, node])
    return Told(n + 1, "plan.edges", "cycle")


@damage
def edge_from_nowhere(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    edge = int(rng.integers(len(found[n]["plan"]["edges"])))
    found[n]["plan"]["edges"][edge][0] = "nowhere"
    return Told(n + 1, f"plan.edges[{edge}][0]", "edges")


@damage
def dangling_edge(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    edge = int(rng.integers(len(found[n]["plan"]["edges"])))
    found[n]["plan"]["edges"][edge][1] = "gone"
    return Told(n + 1, f"plan.edges[{edge}][1]", "edges")


@damage
def edge_of_four(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    found[n]["plan"]["edges"][0] += ["page", "more"][: 4 - len(found[n]["plan"]["edges"][0])]
    return Told(n + 1, "plan.edges[0]", "schema")


@damage
def edge_of_other_type(found: Records, rng: np.random.Generator) -> Told:
    """A picture where text is wanted."""
    n = pick(found, rng, lambda r: bare(r) and r["plan"]["nodes"][-1]["tool"] == "ocr")
    found[n]["plan"]["nodes"][-1]["tool"] = "translate"
    for event in found[n]["events"]:
        event.pop("tool")
    edge = next(i for i, e in enumerate(found[n]["plan"]["edges"]) if e[1] == found[n]["plan"]["nodes"][-1]["id"])
    found[n]["plan"]["edges"][edge] = found[n]["plan"]["edges"][edge][:2]
    return Told(n + 1, f"plan.edges[{edge}]", "types")


@damage
def edge_into_no_parameter(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng, bare)
    found[n]["plan"]["edges"][0] = [*found[n]["plan"]["edges"][0][:2], "pge"]
    return Told(n + 1, "plan.edges[0][2]", "edges")


@damage
def list_into_single_without_a_map(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng, lambda r: bare(r) and any("element" in e for e in r["events"]))
    events = found[n]["events"]
    kept = [e for e in events if e.get("element", 0) == 0]
    for event in kept:
        event.pop("element", None)
    found[n]["events"] = kept
    close_books(found[n])
    return Told(n + 1, "plan.edges[0]", "types")


@damage
def unknown_tool(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng, bare)
    node = int(rng.integers(len(found[n]["plan"]["nodes"])))
    found[n]["plan"]["nodes"][node]["tool"] += "x"
    return Told(n + 1, f"plan.nodes[{node}].tool", "tool")


@damage
def event_of_an_unknown_tool(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    event = int(rng.integers(len(found[n]["events"])))
    found[n]["events"][event]["tool"] = "ocrr"
    return Told(n + 1, f"events[{event}].tool", "tool")


@damage
def node_twice(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    nodes = found[n]["plan"]["nodes"]
    nodes.append(dict(nodes[0]))
    return Told(n + 1, f"plan.nodes[{len(nodes) - 1}].id", "nodes")


@damage
def toolset_changed(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    found[n]["toolset"]["sha256"] = "0" * 64
    return Told(n + 1, "toolset.sha256", "toolset")


@damage
def another_toolset(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    found[n]["toolset"] = "large"
    return Told(n + 1, "toolset", "toolset")


@damage
def price_off_by_a_hundred_thousandth(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    found[n]["outcome"]["price_usd"] = f"{float(found[n]['outcome']['price_usd']) + 1e-5:.9f}"
    return Told(n + 1, "outcome.price_usd", "price")


@damage
def event_price_off(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    event = int(rng.integers(len(found[n]["events"])))
    found[n]["events"][event]["price_usd"] = f"{float(found[n]['events'][event]['price_usd']) + 2e-9:.9f}"
    return Told(n + 1, "outcome.price_usd", "price")


@damage
def price_unknown_but_summed(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    del found[n]["events"][int(rng.integers(len(found[n]["events"])))]["price_usd"]
    return Told(n + 1, "outcome.price_usd", "price")


@damage
def price_left_out(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    del found[n]["outcome"]["price_usd"]
    return Told(n + 1, "outcome.price_usd", "price")


@damage
def negative_price(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    event = int(rng.integers(len(found[n]["events"])))
    found[n]["events"][event]["price_usd"] = "-0.000001"
    return Told(n + 1, f"events[{event}].price_usd", "schema")


@damage
def price_in_words(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    found[n]["outcome"]["price_usd"] = "two cents"
    return Told(n + 1, "outcome.price_usd", "schema")


@damage
def price_scale_zero(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    found[n]["objective"]["price_scale_usd"] = "0"
    return Told(n + 1, "objective.price_scale_usd", "amount")


@damage
def serial_time_wrong(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    found[n]["outcome"]["serial_ms"] += 0.5
    return Told(n + 1, "outcome.serial_ms", "times")


@damage
def faster_than_its_longest_path(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    found[n]["outcome"]["latency_ms"] *= 0.99
    return Told(n + 1, "outcome.latency_ms", "latency")


@damage
def slower_than_one_after_another(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    found[n]["outcome"]["latency_ms"] = found[n]["outcome"]["serial_ms"] + 1
    return Told(n + 1, "outcome.latency_ms", "latency")


@damage
def ends_before_it_starts(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    event = found[n]["events"][-1]
    event["start_ms"], event["end_ms"] = event["end_ms"], event["start_ms"]
    return Told(n + 1, f"events[{len(found[n]['events']) - 1}].start_ms", "times")


@damage
def logged_in_no_time(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    found[n]["provenance"]["logged_at"] = "yesterday"
    return Told(n + 1, "provenance.logged_at", "times")


@damage
def event_of_no_node(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    event = next(i for i, e in enumerate(found[n]["events"]) if e["status"] == "error" or i == 0)
    found[n]["events"][event]["node"] = "n99"
    return Told(n + 1, f"events[{event}].node", "events")


@damage
def event_twice(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    event = int(rng.integers(len(found[n]["events"])))
    found[n]["events"].insert(event, dict(found[n]["events"][event]))
    close_books(found[n])
    return Told(n + 1, f"events[{event + 1}].attempt", "events")


@damage
def step_without_event(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    last = found[n]["plan"]["nodes"][-1]["id"]
    found[n]["events"] = [event for event in found[n]["events"] if event["node"] != last]
    close_books(found[n])
    return Told(n + 1, f"plan.nodes[{len(found[n]['plan']['nodes']) - 1}]", "status")


@damage
def ok_though_a_step_failed(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    node = int(rng.integers(len(found[n]["plan"]["nodes"])))
    for event in found[n]["events"]:
        if event["node"] == found[n]["plan"]["nodes"][node]["id"]:
            event["status"] = "timeout"
    return Told(n + 1, f"plan.nodes[{node}]", "status")


@damage
def failed_though_nothing_did(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng, lambda r: all(e["status"] == "ok" for e in r["events"]))
    found[n]["outcome"]["status"] = "failed"
    found[n]["outcome"]["score"] = 0.0
    return Told(n + 1, "outcome.status", "status")


@damage
def unknown_status(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    found[n]["outcome"]["status"] = "complete"
    return Told(n + 1, "outcome.status", "schema")


@damage
def score_above_one(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    found[n]["outcome"]["score"] = 1.25
    return Told(n + 1, "outcome.score", "score")


@damage
def score_as_text(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    found[n]["outcome"]["score"] = "0.9"
    return Told(n + 1, "outcome.score", "schema")


@damage
def part_of_the_score_below_zero(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    found[n]["outcome"]["quality_parts"] = {"text": 0.5, "tags": -0.1}
    return Told(n + 1, "outcome.quality_parts.tags", "score")


@damage
def propensity_zero(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    found[n]["policy"]["propensity"] = 0.0
    return Told(n + 1, "policy.propensity", "schema")


@damage
def logprob_of_another_plan(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    found[n]["policy"]["logprob"] -= 0.01
    return Told(n + 1, "policy.logprob", "propensity")


@damage
def text_that_is_no_plan(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng, written)
    found[n]["plan"]["text"] = found[n]["plan"]["text"].replace(")", "", 1)
    return Told(n + 1, "plan.text", "text")


@damage
def text_of_another_plan(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng, lambda r: r["plan"].get("text") in (CHAIN, DIAMOND))
    found[n]["plan"]["text"] = DIAMOND if found[n]["plan"]["text"] == CHAIN else CHAIN
    return Told(n + 1, "plan.canonical_hash", "hash")


@damage
def digest_mismatch(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng, written)
    digest = found[n]["plan"]["canonical_hash"]
    found[n]["plan"]["canonical_hash"] = digest[1:] + digest[:1]
    return Told(n + 1, "plan.canonical_hash", "hash")


@damage
def node_of_another_tool_than_the_text(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng, written)
    node = int(rng.integers(len(found[n]["plan"]["nodes"])))
    found[n]["plan"]["nodes"][node]["tool"] = "ocr" if found[n]["plan"]["nodes"][node]["tool"] != "ocr" else "compare"
    return Told(n + 1, f"plan.nodes[{node}].tool", "text")


@damage
def constant_other_than_in_the_text(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng, lambda r: written(r) and r["plan"]["text"] == CHAIN)
    found[n]["plan"]["nodes"][0]["args"]["strength"] = 0.75
    return Told(n + 1, "plan.nodes[0].args.strength", "text")


@damage
def edge_that_the_text_has_not(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng, written)
    plan = found[n]["plan"]
    plan["edges"].append(["page", plan["nodes"][-1]["id"]])
    return Told(n + 1, f"plan.edges[{len(plan['edges']) - 1}]", "text")


@damage
def edge_left_out(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng, lambda r: written(r) and r["plan"]["text"] == DIAMOND)
    found[n]["plan"]["edges"].pop(int(rng.integers(len(found[n]["plan"]["edges"]))))
    return Told(n + 1, "plan.edges", "text")


@damage
def input_of_another_type(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng, written)
    found[n]["request"]["inputs"][0]["type"] = "text"
    return Told(n + 1, "request.inputs[0].type", "types")


@damage
def duplicate_id(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found[1:], rng) + 1
    found[n]["trajectory_id"] = found[int(rng.integers(n))]["trajectory_id"]
    return Told(n + 1, "trajectory_id", "id")


@damage
def set_in_two_pieces(found: Records, rng: np.random.Generator) -> Told:
    found.append(found.pop(int(rng.integers(2))))
    return Told(len(found), "candidate_set", "set")


@damage
def set_of_two_tasks(found: Records, rng: np.random.Generator) -> Told:
    n = 3 * int(rng.integers(len(found) // 3)) + 1
    found[n]["group"] = "task-of-its-own"
    return Told(n + 1, "group", "set")


@damage
def set_of_two_requests(found: Records, rng: np.random.Generator) -> Told:
    n = 3 * int(rng.integers(len(found) // 3)) + 2
    found[n]["request"]["text"] += "?"
    return Told(n + 1, "request.text", "set")


@damage
def task_leaks_into_the_test(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found[1:6], rng) + 1
    found[n]["split"]["name"] = "test"
    return Told(n + 1, "split.name", "leak")


@damage
def splits_swapped(found: Records, rng: np.random.Generator) -> Told:
    """Two records of different sides: both are wrong, and the first of a task is the measure of the others."""
    test = next(n for n, record in enumerate(found) if record["split"]["name"] == "test")
    a, b = 1 + int(rng.integers(4)), test + 1
    found[a]["split"]["name"], found[b]["split"]["name"] = found[b]["split"]["name"], found[a]["split"]["name"]
    return Told(a + 1, "split.name", "leak")


@damage
def input_leaks_into_the_test(found: Records, rng: np.random.Generator) -> Told:
    n = 3 * int(rng.integers(len(found) // 3)) + 1
    found[n]["split"]["inputs"] = "test"
    return Told(n + 1, "split.inputs", "leak")


@damage
def phrasing_leaks_into_the_test(found: Records, rng: np.random.Generator) -> Told:
    n = next(n for n, record in enumerate(found) if record["split"]["phrasing"] == "test")
    n += int(rng.integers(3))
    found[n]["request"]["template"] = "ask-test+please-train"
    return Told(n + 1, "split.phrasing", "leak")


@damage
def unknown_field(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    found[n]["outcome"]["latncy_ms"] = found[n]["outcome"].pop("latency_ms")
    return Told(n + 1, "outcome.latncy_ms", "unknown_field")


@damage
def field_missing(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    del found[n]["candidate_set"]
    return Told(n + 1, "candidate_set", "schema")


@damage
def another_schema(found: Records, rng: np.random.Generator) -> Told:
    n = pick(found, rng)
    found[n]["schema"] = "catp.trajectory/2"
    return Told(n + 1, "schema", "schema")


def cut(data: bytes, rng: np.random.Generator) -> tuple[list[bytes], int]:
    rows = data.splitlines(keepends=True)
    return rows, int(rng.integers(len(rows)))


@file_damage
def nan(data: bytes, rng: np.random.Generator) -> tuple[bytes, Told]:
    rows, n = cut(data, rng)
    rows[n] = rows[n].replace(b'"score":', b'"score":NaN,"was":', 1)
    return b"".join(rows), Told(n + 1, "", "json")


@file_damage
def infinity_by_exponent(data: bytes, rng: np.random.Generator) -> tuple[bytes, Told]:
    rows, n = cut(data, rng)
    rows[n] = rows[n].replace(b'"args":{', b'"args":{"x":1e999,', 1).replace(b",}", b"}", 1)
    return b"".join(rows), Told(n + 1, "", "json")


@file_damage
def line_cut_off(data: bytes, rng: np.random.Generator) -> tuple[bytes, Told]:
    rows, n = cut(data, rng)
    rows[n] = rows[n][: int(rng.integers(1, len(rows[n]) - 2))] + b"\n"
    return b"".join(rows), Told(n + 1, "", "json")


@file_damage
def two_records_on_a_line(data: bytes, rng: np.random.Generator) -> tuple[bytes, Told]:
    rows, n = cut(data, rng)
    rows[n] = rows[n].rstrip() + b" " + rows[n].replace(b'"trajectory_id":"', b'"trajectory_id":"again-')
    return b"".join(rows), Told(n + 1, "", "json")


@file_damage
def field_twice(data: bytes, rng: np.random.Generator) -> tuple[bytes, Told]:
    rows, n = cut(data, rng)
    rows[n] = rows[n].replace(b'"serial_ms":', b'"latency_ms":0,"serial_ms":', 1)
    return b"".join(rows), Told(n + 1, "", "json")


@file_damage
def array_instead_of_record(data: bytes, rng: np.random.Generator) -> tuple[bytes, Told]:
    rows, n = cut(data, rng)
    rows[n] = json.dumps([json.loads(rows[n])]).encode() + b"\n"
    return b"".join(rows), Told(n + 1, "", "json")


@file_damage
def nested_beyond_reason(data: bytes, rng: np.random.Generator) -> tuple[bytes, Told]:
    rows, n = cut(data, rng)
    rows[n] = rows[n].replace(b'"args":{', b'"args":{"x":' + b"[" * 100_000, 1)
    return b"".join(rows), Told(n + 1, "", "json")


@file_damage
def latin_1(data: bytes, rng: np.random.Generator) -> tuple[bytes, Told]:
    rows, n = cut(data, rng)
    rows[n] = rows[n].replace(b'"lang":"en"', b'"lang":"\xe9\x6e"', 1)
    return b"".join(rows), Told(n + 1, "", "encoding")


@file_damage
def lone_surrogate(data: bytes, rng: np.random.Generator) -> tuple[bytes, Told]:
    rows, n = cut(data, rng)
    rows[n] = rows[n].replace(b'"lang":"en"', b'"lang":"\\ud800"', 1)
    return b"".join(rows), Told(n + 1, "", "encoding")


@file_damage
def byte_order_mark(data: bytes, rng: np.random.Generator) -> tuple[bytes, Told]:
    return b"\xef\xbb\xbf" + data, Told(1, "", "encoding")


def close_books(record: dict[str, Any]) -> None:
    """Make price and times those of the events again, so that only one thing is wrong."""
    events = record["events"]
    record["outcome"]["price_usd"] = f"{sum(round(float(e['price_usd']) * 1e9) for e in events) / 1e9:.9f}"
    serial = sum(e["end_ms"] - e["start_ms"] for e in events)
    record["outcome"]["serial_ms"] = round(serial, 3)
    record["outcome"]["latency_ms"] = min(max((e["end_ms"] for e in events), default=0.0), serial)
