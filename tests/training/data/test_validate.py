"""The validator: silent on what is right, and of everything wrong it names line, field and rule."""

import gzip
import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catp.training.data.files import SUFFIXES, write
from catp.training.data.toolset import Toolset
from catp.training.data.trajectory import Trajectory
from catp.training.data.validate import RULES, Report, validate
from tests.training.data.corruptions import FILE_DAMAGES, RECORD_DAMAGES
from tests.training.data.making import CHAIN, MAP, TOOLSET, dicts, records, trajectory

SEEDS = range(3)


def rule(name: str) -> str:
    return RECORD_DAMAGES[name](dicts(records(0, sets=6)), np.random.default_rng(0)).rule


MEANT = [name for name in RECORD_DAMAGES if rule(name) not in ("schema", "unknown_field")]
"""Damages that leave a record of the right form, so that any format can hold it."""


def lines(found: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in found)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    TOOLSET.save(tmp_path / "toolset.json")
    return tmp_path


def checked(folder: Path, data: bytes) -> Report:
    (folder / "a.jsonl").write_bytes(data)
    return validate(folder / "a.jsonl")


def fields(report: Report) -> list[tuple[int | None, str, str]]:
    return [(finding.line, finding.field, finding.rule) for finding in report.findings]


def test_the_shared_pool_is_clean(shared_opencatp: Path) -> None:
    report = validate(shared_opencatp)
    assert (report.findings, report.records, report.notes) == ([], 1_977, [])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("seed", SEEDS)
def test_valid_data_is_clean(folder: Path, suffix: str, seed: int) -> None:
    write(folder / f"a{suffix}", records(seed, sets=6))
    report = validate(folder)
    assert (report.findings, report.records, report.notes) == ([], 18, [])


def test_there_are_enough_damages() -> None:
    assert len(RECORD_DAMAGES) + len(FILE_DAMAGES) + 1 >= 30  # and the truncated gzip
    assert {rule(name) for name in RECORD_DAMAGES} == RULES.keys() - {"file", "json", "encoding"}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", RECORD_DAMAGES)
def test_damaged_records_are_found(folder: Path, name: str, seed: int) -> None:
    found = dicts(records(seed, sets=6))
    told = RECORD_DAMAGES[name](found, np.random.default_rng(seed))
    report = checked(folder, lines(found))
    assert told in fields(report), "\n".join(map(str, report.findings))
    finding = next(f for f in report.findings if (f.line, f.field, f.rule) == told)
    assert finding.why
    assert finding.fix
    if name not in ("splits_swapped",):
        assert {f.line for f in report.findings} == {told.line}, "\n".join(map(str, report.findings))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", FILE_DAMAGES)
def test_damaged_files_are_found(folder: Path, name: str, seed: int) -> None:
    data, told = FILE_DAMAGES[name](lines(dicts(records(seed))), np.random.default_rng(seed))
    report = checked(folder, data)
    assert fields(report) == [told], "\n".join(map(str, report.findings))
    assert report.records == 11  # the others are checked all the same


@pytest.mark.parametrize("name", MEANT)
def test_damages_are_found_in_parquet_alike(folder: Path, name: str) -> None:
    found = dicts(records(3, sets=6))
    told = RECORD_DAMAGES[name](found, np.random.default_rng(3))
    write(folder / "a.parquet", map(Trajectory.from_json, found))
    assert told in fields(validate(folder / "a.parquet"))


def test_a_truncated_gzip_tells_where_it_ends(folder: Path) -> None:
    whole = lines(dicts(records(0)))
    packed = gzip.compress(whole, compresslevel=0)  # stored, so that what is lost can be counted
    (folder / "a.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    report = validate(folder / "a.jsonl.gz")
    assert [(f.rule, f.line) for f in report.findings] == [("file", report.records + 1)]
    assert 4 <= report.records <= 6
    assert "damaged gzip" in report.findings[0].why


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl.gz", b"not gzip at all, just text"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n', mtime=0)[:-6] + b"\0" * 6),
        ("a.parquet", b"PAR1 and no more"),
        ("a.parquet", b""),
        ("a.jsonl", b""),
        ("a.jsonl", b"\n\n \n"),
        ("a.jsonl.gz", gzip.compress(b"", mtime=0)),
        ("a.csv", b"id,score\n"),
    ],
    ids=["no gzip", "gzip without an end", "only a mark", "empty Parquet", "empty", "blank", "empty gzip", "csv"],
)
def test_files_that_are_none_are_findings(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    report = validate(tmp_path / name)
    assert report.counts["file"] == 1
    assert not report.ok


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"id": [1, 2], "plan": ["x", None]}, {"id", "plan", "events", "toolset"}),
        ({"plan": [{"nodes": [3]}, {"nodes": [4]}], "toolset": [{"bare": True}] * 2}, {"plan.nodes[0]", "toolset"}),
        ({"when": [datetime(2026, 1, 1)] * 2, "events": [[{"node": 1}], []]}, {"when", "events[0].node"}),
        ({"plan": [{"nodes": [{"args": "{]"}]}, {"nodes": [{"args": "[NaN]"}]}]}, {"plan.nodes[0].args"}),
    ],
)
def test_tables_of_others_are_findings(tmp_path: Path, columns: dict[str, Any], told: set[str]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    report = validate(tmp_path / "a.parquet")
    assert told <= {f.field for f in report.findings}
    assert {f.line for f in report.findings} == {1, 2}
    assert report.records == 0


def test_a_missing_file_does_not_keep_the_others_from_being_checked(folder: Path) -> None:
    write(folder / "a.jsonl", records(0))
    report = validate([folder / "nobody.jsonl", folder / "a.jsonl"])
    assert [(f.rule, f.line, f.file) for f in report.findings] == [("file", None, str(folder / "nobody.jsonl"))]
    assert report.records == 12


def test_random_bytes_are_found_and_nothing_is_raised(folder: Path) -> None:
    rng = np.random.default_rng(0)
    whole = lines(dicts(records(0)))
    for _ in range(60):
        data = bytearray(whole)
        for place in rng.integers(len(data), size=3):
            data[place] = rng.integers(256)
        report = checked(folder, bytes(data))
        unread = {f.line for f in report.findings if f.rule in ("encoding", "json", "schema", "unknown_field")}
        assert report.records + len(unread) == sum(bool(line.strip()) for line in bytes(data).split(b"\n"))


VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.just([]), st.just({})
)


@settings(
    derandomize=True, max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(path=st.data())
def test_any_value_anywhere_is_a_finding_or_nothing_but_no_error(folder: Path, path: st.DataObject) -> None:
    found = dicts(records(1, sets=1))
    place: Any = found[0]
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = path.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or path.draw(st.booleans()):
            break
        place = place[key]
    place[key] = path.draw(VALUES)
    report = checked(folder, lines(found[:1]))
    assert report.records or report.findings


def test_all_is_counted_and_only_so_much_listed(folder: Path) -> None:
    found = dicts(records(0, sets=6))
    for record in found:
        record["outcome"]["score"] = 7.0
        record["plan"]["edges"].append(["nowhere", "gone"])
    (folder / "a.jsonl").write_bytes(lines(found))
    report = validate(folder, limit=5)
    assert len(report.findings) == 5
    assert report.counts["score"] == 18
    assert report.counts["edges"] == 36
    assert report.total == sum(report.counts.values())
    assert report.to_json()["total"] == report.total


def test_splits_leak_from_file_to_file(folder: Path) -> None:
    found = records(0)
    train = [r.model_copy(update={"split": None}) for r in found[:3]]
    write(folder / "train.jsonl", [train[0].model_copy(update={"split": found[0].split})])
    test = dicts(found[3:4])
    test[0]["split"]["name"] = "test"
    (folder / "test.jsonl").write_bytes(lines(test))
    report = validate([folder / "train.jsonl", folder / "test.jsonl"])
    leak = next(f for f in report.findings if f.field == "split.name")
    assert (leak.file, leak.line, leak.rule) == (str(folder / "test.jsonl"), 1, "leak")
    assert "'task-0' is in 'train' at" in leak.why
    assert validate(folder / "test.jsonl").ok


@pytest.mark.parametrize(
    "place", ["toolset.json", "toolsets/little.json", "../toolset.json", "../toolsets/little.json"]
)
def test_toolsets_are_found_beside_the_data_and_above(tmp_path: Path, place: str) -> None:
    data = tmp_path / "set"
    (data / place).parent.mkdir(parents=True, exist_ok=True)
    data.mkdir(exist_ok=True)
    TOOLSET.save(data / place)
    found = dicts(records(0))
    found[2]["plan"]["nodes"][0]["tool"] = "telepathy"
    (data / "a.jsonl").write_bytes(lines(found))
    report = validate(data / "a.jsonl")
    assert (3, "plan.nodes[0].tool", "tool") in fields(report)
    assert report.notes == []


def test_without_a_toolset_the_rest_is_checked_and_it_is_said(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", records(0))
    report = validate(tmp_path / "a.jsonl")
    assert report.ok
    assert report.notes == ["no file of toolset 'little' was found: tools and types are not checked"]


def test_a_toolset_can_be_named_and_must_be_readable(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", records(0))
    TOOLSET.save(tmp_path / "mine.json")
    assert validate(tmp_path / "a.jsonl", tmp_path / "mine.json").notes == []
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(ValueError, match="not a toolset file"):
        validate(tmp_path / "a.jsonl", tmp_path / "mine.json")


def test_a_broken_toolset_is_told_of_once(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", records(0))
    (tmp_path / "toolset.json").write_text("[]")
    report = validate(tmp_path / "a.jsonl")
    assert [(f.line, f.rule) for f in report.findings] == [(1, "toolset")]


def test_an_id_is_no_path(tmp_path: Path) -> None:
    """Data from strangers must not make the validator read files elsewhere."""
    (tmp_path / "data" / "toolsets").mkdir(parents=True)
    Toolset(id="../../secret", tools=[]).save(tmp_path / "secret.json")
    found = dicts(records(0))
    for record in found:
        record["toolset"] = "../../secret"
    (tmp_path / "data" / "a.jsonl").write_bytes(lines(found))
    assert "was found" in validate(tmp_path / "data" / "a.jsonl").notes[0]


def test_prices_of_a_tenth_of_a_millionth_are_told_apart(folder: Path) -> None:
    found = dicts(records(0))
    for event in found[0]["events"]:
        event["price_usd"] = "0.000000100"
    total = Decimal("1e-7") * len(found[0]["events"])
    found[0]["outcome"]["price_usd"] = f"{total:f}"
    assert checked(folder, lines(found)).ok
    found[0]["outcome"]["price_usd"] = f"{total + Decimal('2e-9'):f}"
    assert fields(checked(folder, lines(found))) == [(1, "outcome.price_usd", "price")]


def test_amounts_of_six_digits_agree_to_their_last(folder: Path) -> None:
    """As OpenCATP's are written."""
    found = dicts(records(0))
    prices = [0.0116421, 0.0172974, 0.0725571, 0.0457808, 0.0, 0.0]
    for event, price in zip(found[0]["events"], prices, strict=False):
        event["price_usd"] = price
    used = sum(prices[: len(found[0]["events"])])
    found[0]["outcome"]["price_usd"] = float(f"{used:.6g}")
    assert checked(folder, lines(found)).ok


def one(text: str, **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(5)
    record = trajectory(rng, text, "one", group="g", set_="s", written=True)
    return {**dicts([record])[0], **changes}


def test_elements_of_a_map_may_be_pipelined(folder: Path) -> None:
    """Element 1 of the second map starts when element 1 of the first is done, not when all are."""
    plan = "in page: list[image]\nreads = ocr(each page)\nmore = translate(each reads.text)\nout more\n"
    record = one(plan)
    spans = {("reads", 0): (0, 10), ("reads", 1): (0, 100), ("more", 0): (10, 110), ("more", 1): (100, 110)}
    record["events"] = [
        {"node": node, "element": element, "status": "ok", "start_ms": a, "end_ms": b, "price_usd": "0"}
        for (node, element), (a, b) in spans.items()
    ]
    record["outcome"] |= {"latency_ms": 110.0, "serial_ms": 220.0, "price_usd": "0"}
    assert checked(folder, lines([record])).ok
    record["outcome"]["latency_ms"] = 109.0
    assert fields(checked(folder, lines([record]))) == [(1, "outcome.latency_ms", "latency")]


def test_hedged_attempts_count_by_the_time_they_cover(folder: Path) -> None:
    record = one(MAP.replace("list[image]", "image").replace("each ", "").replace("reads.text", "[reads.text]"))
    record["request"]["inputs"][0]["type"] = "image"
    record["events"] = [
        {"node": "reads", "attempt": 1, "status": "cancelled", "start_ms": 0, "end_ms": 80, "price_usd": "0"},
        {"node": "reads", "attempt": 2, "status": "ok", "start_ms": 20, "end_ms": 80, "price_usd": "0"},
        {"node": "all", "status": "ok", "start_ms": 80, "end_ms": 90, "price_usd": "0"},
    ]
    record["outcome"] |= {"latency_ms": 90.0, "serial_ms": 150.0, "price_usd": "0"}
    assert checked(folder, lines([record])).ok
    record["outcome"]["latency_ms"] = 89.0
    assert fields(checked(folder, lines([record]))) == [(1, "outcome.latency_ms", "latency")]


def test_conditional_steps_need_no_event(folder: Path) -> None:
    plan = "in page: image\nread = ocr(page)\nde = translate(read.text) when read.score > 0.5 else read.text\nout de\n"
    record = one(plan)
    record["events"] = [event for event in record["events"] if event["node"] == "read"]
    serial = sum(event["end_ms"] - event["start_ms"] for event in record["events"])
    price = sum(Decimal(event["price_usd"]) for event in record["events"])
    record["outcome"] |= {"serial_ms": serial, "latency_ms": serial, "price_usd": f"{price:f}"}
    assert checked(folder, lines([record])).ok
    record["plan"]["text"] = plan.replace(" when read.score > 0.5 else read.text", "")
    assert (1, "plan.nodes[1]", "status") in fields(checked(folder, lines([record])))


def test_a_plan_that_nobody_ran_needs_no_events_but_then_cost_nothing(folder: Path) -> None:
    record = one(CHAIN, events=[], outcome={"status": "ok"})
    assert checked(folder, lines([record])).ok
    record["outcome"]["latency_ms"] = 12.0
    assert fields(checked(folder, lines([record]))) == [(1, "events", "events")]


def test_suspect_scores_may_exceed_one(folder: Path) -> None:
    record = one(CHAIN)
    record["outcome"] |= {"score": 1.01, "score_suspect": True}
    assert checked(folder, lines([record])).ok


def test_merged_and_useless_steps_may_be_left_out(folder: Path) -> None:
    """Records show what was run: the plan after simplification."""
    plan = CHAIN.replace("read = ocr(clean)", "same = denoise(page, strength=0.5)\nread = ocr(clean)\nidle = ocr(page)")
    whole = one(plan)
    assert checked(folder, lines([whole])).ok
    run = one(CHAIN)
    run["plan"] |= {"text": plan, "canonical_hash": whole["plan"]["canonical_hash"]}
    assert checked(folder, lines([run])).ok


def test_unknown_fields_name_the_nearest_known(folder: Path) -> None:
    record = one(CHAIN)
    record["request"]["inputs"][0]["siz"] = 1
    record["polcy"] = {}
    record["events"][0]["proce_usd"] = 1
    record["request"]["inputs"][0]["size"] = {"pixls": 3}
    found = {f.field: f.fix for f in checked(folder, lines([record])).findings}
    assert found == {
        "request.inputs[0].siz": "did you mean 'size'?",
        "request.inputs[0].size.pixls": "did you mean 'pixels'?",
        "polcy": "did you mean 'policy'?",
        "events[0].proce_usd": "did you mean 'price_usd'?",
    }
