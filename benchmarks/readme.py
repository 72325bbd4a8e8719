"""Prints the README's tables of figures from `benchmarks/results/*.json`, so that no figure is typed by hand.

`python benchmarks/readme.py --check` exits 1 if the README differs. Figures of the policy are left out while there is
no results/policy.json.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
START, END = "<!-- figures: benchmarks/readme.py -->", "<!-- end of figures -->"
POLICY_START, POLICY_END = "<!-- policy: benchmarks/readme.py -->", "<!-- end of policy -->"


def result(name: str) -> Any:
    return json.loads((HERE / "results" / f"{name}.json").read_text())


def rows() -> list[tuple[str, str, str]]:
    return [*executor_rows(), *money_rows(), *store_rows(), *language_rows(), *tool_rows(), *planner_rows(),
            *engine_rows(), *dashboard_rows()]  # fmt: skip


def planner_rows() -> list[tuple[str, str, str]]:
    bench, pool = result("catp_bench"), result("opencatp")
    by_name = {one["planner"]: one for one in bench["protocols"]["split"]}
    known = {one["planner"]: one for one in bench["protocols"]["inputs"]}

    def regret(one: Any, alpha: float = 0.8) -> str:
        row = next(row for row in one["rows"] if row["alpha"] == alpha)
        return f"{row['regret']['regret']:.2f}"

    shown = ("cheapest", "accurate", "shortest", "ridge", "gbm", "random")
    held_out = "; ".join(f"{name} {regret(by_name[name])}" for name in shown if name in by_name)
    agree = [row["agrees"] for table in pool["pools"].values() for row in table["table"]]
    return [
        (
            f"CATP-Bench, {bench['inputs']:,} inputs, {bench['plans']:,} plans run: regret at alpha 0.8 on new tasks",
            held_out,
            f"0 best, 1 worst; search planner, on {by_name['search']['sets']} of them: {regret(by_name['search'])}",
        ),
        (
            "the same, new inputs of known tasks: best fixed plan of each task / in hindsight / quality model",
            f"{regret(known['fixed'])} / {regret(known['fixed-hindsight'])} / {regret(known['gbm'])}",
            f"table of plans {regret(known['table'])}",
        ),
        ("baselines on OpenCATP's pool as published with it", f"{sum(agree)} of {len(agree)} agree", ""),
    ]


def engine_rows() -> list[tuple[str, str, str]]:
    found, sim = result("serving"), result("serving_sim")
    rate, ratio, single = found["plans_per_cpu_s"], found["ratio"], found["single_ms"]
    headline = {(row["policy"], row["load"]): row["attainment"] for row in sim["headline"]["rows"]
                if row["error"] == 0}  # fmt: skip
    batching = sim["batching"]
    size = f"{found['parameters'] / 1e6:.0f}M-parameter Llama, catalogue of {found['prefix']:,} tokens, one thread"
    return [
        (
            f"{size}, {found['requests']} plans at once",
            f"{rate['ours']:.1f} plans a CPU second",
            (
                f"transformers: continuous batching, warm {rate['cb']:.1f} (1/{ratio['cb']:.1f}); generate with the "
                f"catalogue's keys kept {rate['hf-prefix']:.1f} (1/{ratio['hf-prefix']:.1f}); generate {rate['hf']:.1f}"
            ),
        ),
        (
            "the same, one plan at a time",
            f"{single['ours']:.0f} ms of CPU; 16 different plans of one request cost {found['best_of_16']:.1f} of it",
            f"generate with keys kept {single['hf-prefix']:.0f} ms",
        ),
        (
            "queue order on Azure's trace, simulated A100: deadlines met at load 0.7 / 0.9",
            " / ".join(f"{headline['moore-hodgson', load]:.1%}" for load in (0.7, 0.9)) + " (Moore-Hodgson)",
            " / ".join(f"{headline['fcfs', load]:.1%}" for load in (0.7, 0.9)) + " (first come, first served)",
        ),
        (
            "continuous against static batches of 32 / paged against reserved memory, simulated",
            f"{batching['continuous_over_static']:.1f} x / {batching['paged_over_reserved']:.2f} x the requests",
            "",
        ),
    ]


def dashboard_rows() -> list[tuple[str, str, str]]:
    server, browser = result("dashboard"), result("dashboard_browser")
    lists, live, opened = server["lists"]["lists"], server["live"], browser["open"]["1000"]
    page, facets = lists["first page"], lists["facets"]
    least, most = (round(lists[name]["rss_mib"]) for name in ("facets, one policy", "tools"))
    size = sum(size for name, size in server["javascript"].items() if name != "vendor/entry.js")
    return [
        (
            f"dashboard, {server['lists']['runs']:,} runs: first page of the list, p50 / p95",
            f"{page['p50_ms']:.0f} / {page['p95_ms']:.0f} ms",
            f"bar 300; counts by facet {facets['p50_ms']:.0f} ms; {least} MiB, after every page {most} (bar 120)",
        ),
        (
            f"dashboard, {live['clients']} clients on one live run: event to client, p50 / p99",
            f"{live['p50_ms']:.0f} / {live['p99_ms']:.0f} ms",
            f"bar 150; {live['reads_per_event']:.2f} reads of the store an event",
        ),
        (
            "dashboard, a run of 1,000 steps in Chromium: opens, p50 / p95; core used while live",
            f"{opened['p50_ms'] / 1000:.1f} / {opened['p95_ms'] / 1000:.1f} s; {browser['live']['page_share']:.0%}",
            f"bars 2 s, 30 %; {size / 1000:.0f} kB of JavaScript in all",
        ),
    ]


def executor_rows() -> list[tuple[str, str, str]]:
    found = result("executor")
    executors, fan = found["executors"], found["fan_out_20_cap_1.00"]
    ours = executors["catp"]
    peers = {name: row for name, row in executors.items() if name != "catp"}
    lost = ", ".join(name for name, row in peers.items() if row["branch"] != "survives")
    overhead = "; ".join(f"{n} {r['wide']['cpu_us']:.0f} / {r['chain']['cpu_us']:.0f}" for n, r in peers.items())
    spend, naive = fan["reserve, settle"], fan["check, run, add"]
    return [
        (
            "unbalanced diamond, ideal 0.6 s",
            f"{ours['diamond_s']:.3f} s",
            f"LangGraph {peers['langgraph']['diamond_s']:.3f} s",
        ),
        (
            "overhead per node with ledger, budget and events, 200 wide / 200 deep (CPU time)",
            f"{ours['wide']['cpu_us']:.0f} / {ours['chain']['cpu_us']:.0f} µs",
            f"no ledger: {overhead}",
        ),
        ("independent branch after a sibling failed, default settings", ours["branch"], f"lost in {lost}"),
        (
            f"20 calls at once under a cap of $1.00, {fan['seeds']} runs",
            f"over the cap in {spend['over_cap']}; most spent ${float(spend['max']):.2f}",
            f"check, then run, then add: over in {naive['over_cap']}, most ${float(naive['max']):.2f}",
        ),
    ]


def money_rows() -> list[tuple[str, str, str]]:
    money, cache = result("money"), result("cache")["saved"]
    holding, crowds = money["holding_us"], money["crowds"]
    bound, naive = crowds["ours, estimates bound prices"], crowds["peer: check then act"]
    dearer = crowds["ours, prices up to 3x the estimate"]
    price = result("calibration")["overall"]["price_usd"]
    three = holding["ledger, cap + agent's day + project"]
    covered = price["covered"]
    over_lru, over_lfu = ([row[f"over {peer}"] for row in cache] for peer in ("LRU", "LFU"))
    return [
        (
            f"{bound['runs']:,} runs x 20 calls in {bound['processes']} processes, one budget of ${bound['cap_usd']}",
            f"${float(bound['spent_usd']):.2f}; prices up to 3 x the estimate: {dearer['over_percent']:.2f} % over",
            f"check, then act: {naive['over_percent']:.1f} % over",
        ),
        (
            "reserve and settle in process: one cap / three scopes (CPU time)",
            f"{holding['ledger, one cap']:.0f} / {three:.0f} µs",
            f"in a budget shared by processes: {holding['shared budget in SQLite, reserve alone']:.0f} µs to reserve",
        ),
        (
            f"p95 price of {price['calls']:,} held-out calls of the built-in tools",
            f"held in {covered['p95']:.1%}",
            f"p50 in {covered['p50']:.0%}, p90 in {covered['p90']:.0%}, p99 in {covered['p99']:.1%}",
        ),
        (
            "money a small cache saves by keeping what is dear, often used and small",
            f"{min(over_lru):.1f} to {max(over_lru):.1f} x LRU",
            f"{min(over_lfu):.1f} to {max(over_lfu):.1f} x LFU",
        ),
    ]


def store_rows() -> list[tuple[str, str, str]]:
    store, board = result("store"), result("leaderboard")
    rates, pages = store["events_per_second"], store["page_ms"]
    return [
        (
            "journal with all projections: events a second, SQLite / PostgreSQL",
            f"{rates['journal, SQLite, with projections']:,} / {rates['journal, PostgreSQL, with projections']:,}",
            f"SQLAlchemy ORM, events only: {rates['SQLAlchemy ORM, a commit each, events only']:,}",
        ),
        (
            "a page of the run list at 100,000 runs",
            f"{pages['a page 90 % down']:.1f} ms",
            f"with OFFSET {pages['peer: OFFSET, 90 % down']:.1f} ms",
        ),
        (
            f"tool leaderboard over {board['calls']:,} calls",
            f"{board['ms']['leaderboard, everything']:.0f} ms",
            f"grouping the calls {board['ratio_to_peer']:.0f} x as long",
        ),
    ]


def language_rows() -> list[tuple[str, str, str]]:
    compiled, planlang, mask = result("compile")["rows"], result("planlang"), result("mask")
    parse_ms = [compiled[name]["parse_and_compile_ms"] for name in ("8 steps", "1000 steps")]
    trips, differential = planlang["round_trips"], planlang["differential"]
    bad = sum(w["dead_ends"] + w["invalid"] + w["over_budget"] for w in mask["walks"].values())
    timing = mask["timing"][-1]
    first = timing["us_per_token_first_walk_of_a_request"]
    return [
        ("plan of 8 / 1,000 steps: parse and compile (CPU time)", f"{parse_ms[0]:.2f} / {parse_ms[1]:.0f} ms", ""),
        (
            "random plans to text, to JSON, to tokens and back",
            f"{trips['text']:,}, {trips['json_text']:,}, {trips['tokens']:,} of {trips['plans']:,}",
            f"parser against grammar, {differential['texts']:,} mutations: {differential['unexplained']} unexplained",
        ),
        (
            f"random walks under the decode mask, 3 to 500 tools: {mask['total_walks']:,}",
            f"{bad} dead ends, invalid or over budget",
            f"{timing['us_per_token']:.1f} µs a token at 500 tools, {first:.0f} in the first walk of a request",
        ),
    ]


def tool_rows() -> list[tuple[str, str, str]]:
    jobs, contention = result("planner")["time"]["main job (5 outputs)"], result("metering")["contention"]
    small, large = jobs[1], jobs[-1]
    return [
        (
            f"search planner, five outputs, {small['tools']} / {large['tools']} tools (CPU time)",
            f"{small['cpu_s_median']:.2f} / {large['cpu_s_median']:.2f} s",
            f"reported exact in {small['exact_share']:.0%} / {large['exact_share']:.0%}",
        ),
        (
            "one and the same call on a busier machine",
            f"billed CPU time x {contention['cpu_busy_over_idle']:.2f}",
            f"wall time x {contention['wall_busy_over_idle']:.2f}",
        ),
    ]


PROTOCOLS = {
    "inputs": "new inputs", "split": "new tasks", "phrasing": "new wordings", "tools": "new tools",
    "prices": "other prices",
}  # fmt: skip


def policy_lines() -> list[str]:
    """The table of the policy and what is said below it; nothing if it was not measured."""
    if not (HERE / "results" / "policy.json").is_file():
        return []
    found = result("policy")
    by_protocol = {protocol: {row["name"]: row for row in rows} for protocol, rows in found["protocols"].items()}
    names: dict[str, str] = {}
    for rows in by_protocol.values():
        names.update((name, row["kind"]) for name, row in rows.items())
    ordered = sorted(names, key=lambda name: (names[name] == "baseline", name == "composed"))
    lines = ["|  | " + " | ".join(PROTOCOLS.values()) + " |", "|---|" + "---|" * len(PROTOCOLS)]
    for name in ordered:
        shown = f"**{name}**" if name == found["main"] else name
        cells = [policy_cell(by_protocol[protocol].get(name)) for protocol in PROTOCOLS]
        lines.append("| " + " | ".join([shown, *cells]) + " |")
    counts = "; ".join(f"{text} {rows[0]['inputs']} of {rows[0]['tasks']} tasks"
                       for protocol, text in PROTOCOLS.items() if (rows := found["protocols"][protocol]))  # fmt: skip
    seeds = len(found["models"][found["main"]]["seeds"])
    told = f"{seeds} seeds, in brackets the 95 % interval of their mean at alpha 0.8" if seeds > 1 else "one seed"
    said = (
        "Regret at alpha 0.8 / 0.95 (0 is the best measured plan, 1 the worst) and share of the oracle's hypervolume; "
        f"{found['main']}: {told}. Inputs: {counts}. `composed` decides by the tools' profiles alone."
    )
    return [*lines, "", said, *ablation_lines(found), *method_lines(found), *free_lines(found), *elasticity_lines(),
            *bar_lines(found)]  # fmt: skip


def policy_cell(row: Any) -> str:
    if row is None:
        return ""
    near, far, area = row["regret"]["0.8"], row["regret"]["0.95"], row["hypervolume"]["mean"]
    interval = f" [{near['seeds_low']:.2f}, {near['seeds_high']:.2f}]" if "seeds_low" in near else ""
    return f"{near['mean']:.2f}{interval} / {far['mean']:.2f}; " + ("-" if area is None else f"{area:.2f}")


def ablation_lines(found: Any) -> list[str]:
    told = beside(found.get("ablations", {}))
    return [f"What rates, beside what profiles promise, {told}."] if told else []


def method_lines(found: Any) -> list[str]:
    told = beside(found["methods"])
    return [f"Methods of training, same data and network, {told}."] if told else []


def beside(tables: Any) -> str:
    """Regret at alpha 0.8 / 0.95 of each row, by protocol."""
    told = []
    for protocol, rows in tables.items():
        each = ", ".join(f"{row['name']} {row['regret']['0.8']['mean']:.2f} / {row['regret']['0.95']['mean']:.2f}"
                         for row in rows)  # fmt: skip
        told.append(f"{PROTOCOLS[protocol]} ({rows[0]['inputs']}): {each}")
    return "; ".join(told)


def free_lines(found: Any) -> list[str]:
    free = found["free"]
    if not free:
        return []
    over = free["budget"]["violations"]
    told = "of no plan with a budget is the price known" if over is None else f"{over:.1%} over their budget"
    text = (
        f"Planning freely on {free['inputs']} inputs of new tasks: of {free['requests']} plans {free['valid']:.1%} "
        f"valid, {free['coverage']:.0%} measured; {told}."
    )
    return [text]


def elasticity_lines() -> list[str]:
    if not (HERE / "results" / "policy_elasticity.json").is_file():
        return []
    one = result("policy_elasticity")
    text = (
        f"With one tool's price halved and multiplied by ten, its use moves the right way for {one['half_and_ten']} of "
        f"{one['used']} tools ([picture](benchmarks/results/policy_elasticity.svg))."
    )
    return [text]


def bar_lines(found: Any) -> list[str]:
    """Which of the figures that were to be reached are not, and how far off they are."""
    bars = [one for one in found["bars"] if one["met"] is not None]
    missed = [f"{one['bar']} ({one['value']:.3g}, not {one['to_reach']:.3g})" for one in bars if not one["met"]]
    first = f"Of {len(bars)} marks set beforehand {len(bars) - len(missed)} are reached"
    return [first + (": all." if not missed else ". Not reached: " + "; ".join(missed) + ".")]


def between(text: str, start: str, end: str, lines: list[str]) -> str:
    """The text with other lines between two marks."""
    before, rest = text.split(start)
    return before + "\n".join([start, *lines, end]) + rest.split(end)[1]


def table() -> list[str]:
    lines = ["| what | figure | beside it |", "|---|---|---|"]
    return [*lines, *(f"| {a} | {b} | {c} |" for a, b, c in rows())]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the README is up to date")
    options = parser.parse_args()
    text = README.read_text(encoding="utf-8")
    new = between(text, START, END, table())
    new = between(new, POLICY_START, POLICY_END, policy_lines())
    print("\n".join([*policy_lines(), "", *table()]))
    if options.check:
        return int(new != text)
    README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
