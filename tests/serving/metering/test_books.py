"""The request log, the sums over it, the metrics and the dashboard that shows them."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from catp.serving.engine.request import Slo
from catp.serving.metering.meter import Meter
from catp.serving.metering.metrics import Metrics
from catp.serving.metering.prices import DevicePrice
from catp.serving.metering.record import RequestRecord, kept
from catp.serving.metering.requestlog import RequestLog, read_log
from catp.serving.metering.totals import Totals
from catp.serving.server.backend import Health, Seconds, Snapshot

PRICE = DevicePrice.of("cpu")


def records(count: int, seed: int = 0) -> list[RequestRecord]:
    rng = np.random.default_rng([seed])
    found = []
    for number in range(count):
        seconds = Seconds(*(float(x) for x in rng.exponential(0.1, 3)))
        prompt, written = int(rng.integers(1, 500)), int(rng.integers(0, 60))
        finish = str(rng.choice(["stop", "length", "cancelled", "failed", "deadline"]))
        ttft = float(rng.exponential(0.05)) if written else None
        found.append(RequestRecord(
            f"r{number}", str(rng.choice(["ann", "bob"])), "m", str(rng.choice(["chat", "plans"])), 1e9 + number,
            finish, "" if finish in ("stop", "length") else "timeout", str(rng.choice(["", "legal"])),  # type: ignore[arg-type]
            prompt, int(rng.integers(0, prompt)), written, written // 3, 0, seconds, PRICE.spent(seconds),
            0.01, ttft, 0.02 if written > 1 else None, float(rng.exponential(0.5)),
            Slo(0.05, 0.03, None) if rng.random() < 0.5 else Slo(), 2,
        ))  # fmt: skip
    return found


def samples(meter: Meter) -> dict[str, float]:
    metrics = Metrics(meter, lambda: Snapshot(decision_p50=1e-5, decision_p99=1e-4, extra={"x": 1.0}),
                      lambda: Health(True, True, last_step_age=0.1), "m", lambda: 0)  # fmt: skip
    lines = metrics.render()[0].decode().splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))
    }


@pytest.mark.parametrize("record", records(50))
def test_lines_are_read_back(record: RequestRecord) -> None:
    line = record.to_line()
    assert "\n" not in line
    assert RequestRecord.from_line(line) == record
    assert all(isinstance(text, str) for text in json.loads(line)["spent"].values())  # money as decimal strings


def test_unpriced_stays_unknown() -> None:
    record = RequestRecord("r", "t", "m", "chat", 1.0, "stop", seconds=Seconds(output=1.0), output_tokens=4)
    assert RequestRecord.from_line(record.to_line()).price is None
    totals = Totals([record])
    assert totals.groups["t", ""].per_1k("output") is None
    assert totals.groups["t", ""].unpriced == 1


@pytest.mark.parametrize("line", ["", "{", "[]", "{}", '{"schema": "catp.request/2"}', '{"schema": "catp.request/1"}'])
def test_lines_that_are_none(line: str) -> None:
    with pytest.raises(ValueError, match=r"not a line of catp\.request/1"):
        RequestRecord.from_line(line)


def test_the_metrics_can_be_counted_anew_from_the_log(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    meter = Meter(PRICE, RequestLog(path, max_bytes=20_000, files=50))
    live = samples(meter)
    made = records(400)
    for record in made:
        meter.ended(record)
    meter.close()
    assert len(list(tmp_path.iterdir())) > 5  # it was rotated
    assert list(read_log(path)) == made
    again = Meter(PRICE)
    again.totals = Totals(read_log(path))
    live = {name: value for name, value in samples(meter).items() if name.startswith("catp_")}
    anew = samples(again)
    assert len(live) > 60
    for name, value in live.items():
        assert anew[name] == pytest.approx(value, rel=0.01), name
    whole = sum(record.price or 0 for record in made)
    assert sum(v for name, v in anew.items() if name.startswith("catp_cost_usd_total")) == pytest.approx(whole / 1e9)


def test_a_line_cut_short_is_left_out_and_a_broken_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    first, second = (record.to_line() for record in records(2))
    path.write_text(f"{first}\n{second[:40]}")
    assert [record.id for record in read_log(path)] == ["r0"]
    path.write_text(f"{first}\nnonsense\n{second}\n")
    with pytest.raises(ValueError, match=r"requests.jsonl:2: "):
        list(read_log(path))


_FULL = """
from pathlib import Path
from catp.serving.metering.record import RequestRecord
from catp.serving.metering.requestlog import RequestLog
log = RequestLog(Path("/dev/full"))
for _ in range(3):
    log.write(RequestRecord("r", "t", "m", "chat", 1.0, "stop"))
print(log.failures, flush=True)
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_keeps_nobody_from_being_served() -> None:
    done = subprocess.run([sys.executable, "-c", _FULL], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "3\n"
    assert done.stderr.count("cannot be written: free some space") == 1  # told once


def test_prices_by_tenant_and_adapter() -> None:
    made = [
        RequestRecord("a", "ann", "m", "plans", 1.0, "stop", prompt_tokens=1000, cached_tokens=600, output_tokens=50,
                      seconds=(one := Seconds(0.4, 0.1, 0.5)), spent=PRICE.spent(one)),
        RequestRecord("b", "bob", "m", "chat", 1.0, "length", adapter="legal", prompt_tokens=10, output_tokens=500,
                      seconds=(two := Seconds(0.1, 0.0, 1.0)), spent=PRICE.spent(two)),
    ]  # fmt: skip
    totals = Totals(made)
    ann, bob = totals.groups["ann", ""], totals.groups["bob", "legal"]
    assert [ann.per_1k(kind) for kind in ("fresh", "cached", "output")] == [2100, 350, 21_000]
    assert ann.per_plan() == 2100  # one second of one CPU thread
    assert (bob.per_1k("cached"), bob.per_1k("output"), bob.per_plan()) == (None, 4200, None)


def test_expectations() -> None:
    slo = Slo(ttft=0.1, tpot=0.01, e2e=1.0)
    good = RequestRecord("r", "t", "m", "chat", 1.0, "stop", ttft=0.1, tpot=0.02, e2e=0.5, slo=slo)
    assert kept(good) == {"ttft": True, "tpot": False, "e2e": True}
    cut = replace(good, finish="cancelled", tpot=0.001)
    assert kept(cut) == {"ttft": False, "tpot": False, "e2e": False}
    single = replace(good, finish="length", tpot=None)
    assert kept(single)["tpot"]  # there is nothing between the tokens of one
    assert Totals([good, cut]).attainment() == {"ttft": 0.5, "tpot": 0.0, "e2e": 0.5}


def test_quantiles_are_of_the_sample() -> None:
    made = [RequestRecord(f"r{n}", "t", "m", "chat", 1.0, "stop", ttft=n / 100, e2e=1.0) for n in range(100)]
    found = Totals(made).quantiles()
    assert (found["ttft", 0.5], found["ttft", 0.9], found["ttft", 0.99]) == (0.5, 0.9, 0.99)


def test_every_query_of_the_dashboard_names_metrics_that_exist() -> None:
    meter = Meter(PRICE)
    for record in records(50):
        meter.ended(record)
    meter.refusal("ann", "queue_full")
    names = {name.partition("{")[0] for name in samples(meter)}
    board = json.loads((files("catp.serving.metering") / "grafana.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    assert len(queries) > 15
    for query in queries:
        used = set(re.findall(r"\b(?:vllm:|catp_)\w+", query))
        assert used, query
        assert used <= names, query
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
