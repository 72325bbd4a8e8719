"""Training runs by their files: live, finished, killed, damaged; and nothing outside their folder."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.dashboard.read.curves import POINTS, curves, read_events
from catp.dashboard.read.plane import plane
from tests.dashboard.conftest import Client
from tests.dashboard.training_runs import STOPPED, evaluated, finished_run, started, step, write_run

ClientOf = Callable[..., Client]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    found = tmp_path / "runs"
    found.mkdir()
    return found


async def told(client: Client, path: str = "training") -> Any:
    answer = await client.get(f"/api/v1/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_run_from_its_files(client_of: ClientOf, filled: Path, root: Path) -> None:
    finished_run(root / "tiny")
    client = client_of(filled, training=root)
    (row,) = [row for row in (await told(client))["items"] if not row["shipped"]]
    assert (row["name"], row["state"], row["step"], row["steps"]) == ("tiny", "finished", 100, 100)
    assert (row["best"]["step"], row["best"]["figures"]["regret"]) == (50, 0.2)
    assert row["summary"] == {"method": "awr", "data": ["catp-bench"], "hidden": 256, "layers": 4, "lr": 0.001}
    run = await told(client, "training/tiny")
    groups = {group["group"]: group for group in run["curves"]}
    assert [one["name"] for one in groups["train/loss"]["series"]] == ["train/loss", "train/loss/policy"]
    assert groups["train/loss"]["step"] == list(range(1, 101))
    assert [one["name"] for one in groups["eval/regret"]["series"]] == [
        "eval/regret", "eval/regret@0.5", "eval/regret@0.9"
    ]  # fmt: skip
    assert groups["eval/regret"]["series"][0]["values"] == [0.3, 0.2, 0.25]
    assert [(point["step"], point["best"]) for point in run["points"]] == [(25, True), (50, True), (100, False)]
    assert (run["plane"]["x"], run["plane"]["y"]) == ("regret@0.5", "regret@0.9")
    assert [one["front"] for one in run["plane"]["points"]] == [False, True, False]
    assert (await told(client, "training/tiny?y=quality_error"))["plane"]["y"] == "quality_error"
    assert [(one["place"], one["step"]) for one in run["checkpoints"]] == [("best", 50), ("last", 100)]
    assert run["checkpoints"][0]["bytes"] > 1000
    records = {one["file"]: one["records"] for one in run["data"]["files"]}
    assert [one["share"] for one in run["data"]["files"]] == [None, 1.0, None]
    assert records["catp-bench/measured/val.jsonl.gz"] > 100
    assert records["../../../etc/passwd"] is records["own.jsonl"] is None
    assert "[optim]" in run["config"]
    assert (run["card"]["license"], run["data"]["examples"]) == ("Apache-2.0", 1218)


def test_the_frontier_of_evaluations() -> None:
    rng = np.random.default_rng(7)
    points = [
        {
            "step": n,
            "best": n in (3, 9),
            "figures": {
                "cost@0.8": a,
                "quality@0.8": b,
                "quality@0.5": 0.0,
                "regret": 1.0 - b,
                "regret@0.5": 1.0,
                "lost": None,
            },
        }
        for n, (a, b) in enumerate(rng.integers(0, 8, (40, 2)).tolist())
    ]
    found = plane(points)
    assert (found["x"], found["y"]) == ("cost@0.8", "quality@0.8")
    for one in found["points"]:
        beaten = any(
            other["x"] <= one["x"] and other["y"] >= one["y"] and (other["x"], other["y"]) != (one["x"], one["y"])
            for other in found["points"]
        )
        assert one["front"] is not beaten
    assert [one["step"] for one in found["points"] if one["best"]] == [9]
    worst = plane(points, "regret", "regret")["points"]
    assert {one["x"] for one in worst if one["front"]} == {min(one["x"] for one in worst)}
    assert plane(points, "lost", "nothing")["points"] == []
    assert plane([]) == {"x": None, "y": None, "names": [], "points": []}


async def test_the_shipped_model(client_of: ClientOf, filled: Path) -> None:
    client = client_of(filled, training=None)
    rows = (await told(client))["items"]
    assert [(row["name"], row["state"], row["step"]) for row in rows if row["shipped"]] == [
        ("shipped:catp-tiny", "finished", 1400)
    ]
    run = await told(client, "training/shipped%3Acatp-tiny")
    assert len(run["points"]) == 4
    assert run["card"]["name"] == "catp-tiny"


def age(path: Path, seconds: float) -> None:
    at = time.time() - seconds
    os.utime(path, (at, at))


@pytest.mark.parametrize(
    ("events", "seconds", "state"),
    [
        ([started(), step(1, 4.0)], 5, "running"),
        ([started(), step(1, 4.0)], 600, "stopped"),
        ([started(), {**evaluated(1, 0.3), "seconds": 300.0}], 600, "running"),  # its evaluations take that long
        ([started(), step(1, 4.0), STOPPED], 1, "finished"),
        ([started(), {**STOPPED, "reason": "patience"}], 1, "finished"),
        ([started(), {**STOPPED, "reason": "interrupted"}], 1, "interrupted"),
    ],
)
async def test_states(
    client_of: ClientOf, filled: Path, root: Path, events: list[Any], seconds: float, state: str
) -> None:
    age(write_run(root / "a", events) / "metrics.jsonl", seconds)
    assert (await told(client_of(filled, training=root), "training/a"))["state"] == state


async def test_lines_that_are_none_are_counted(client_of: ClientOf, filled: Path, root: Path) -> None:
    junk = [
        "{", "null", "[1]", '{"event": "step"}', '{"event": 3, "step": 1}', '{"event": "step", "step": "x"}',
        '{"event": "step", "step": -1}', "[" * 5000,
    ]  # fmt: skip
    half = json.dumps(step(3, 2.0))[:30]
    write_run(root / "a", [started(), step(1, 4.0), *junk, step(2, 3.0)], tail=half)
    client = client_of(filled, training=root)
    run = await told(client, "training/a")
    assert (run["skipped"], run["step"]) == (len(junk) + 1, 2)
    (root / "a" / "metrics.jsonl").write_bytes(b"\xff\xfe\x00" * 100)
    run = await told(client, "training/a")
    assert (run["skipped"], run["step"], run["curves"]) == (1, 0, [])
    odd = {**step(1, 1.0), "parts": 3, "lr": "high", "deep": {"x": 1}, "steps": None}
    write_run(root / "a", [odd, {**evaluated(1, 0.1), "figures": None}], config="[[[")
    run = await told(client, "training/a")
    assert (run["summary"], run["points"][0]["figures"], run["best"]) == ({}, {}, None)


async def test_a_number_that_is_none_is_marked(client_of: ClientOf, filled: Path, root: Path) -> None:
    nan = json.dumps(step(3, 1.0)).replace('"loss": 1.0', '"loss": NaN')
    write_run(root / "a", [step(1, 4.0), step(2, None), nan, step(4, 2.0)])
    group = (await told(client_of(filled, training=root), "training/a"))["curves"][0]
    assert group["series"][0] == {"name": "train/loss", "values": [4.0, None, None, 2.0]}
    assert group["nan"] == {"train/loss": [2, 3], "train/loss/policy": [2]}


async def test_no_name_leads_out_of_the_folder(client_of: ClientOf, filled: Path, root: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "outside", [started()])
    secret = tmp_path / "secret.toml"
    secret.write_text('password = "hunter2"')
    write_run(root / "inside", [started(), step(1, 1.0)], config=None)
    (root / "inside" / "config.toml").symlink_to(secret)
    (root / "linked").symlink_to(tmp_path / "outside")
    (root / "file").mkdir()
    (root / "file" / "metrics.jsonl").symlink_to(tmp_path / "outside" / "metrics.jsonl")
    (root / "inside" / "best").symlink_to(tmp_path / "outside")
    (root / "loop").symlink_to(root / "loop")
    (root / ".hidden").mkdir()
    client = client_of(filled, training=root)
    names = [row["name"] for row in (await told(client))["items"] if not row["shipped"]]
    assert names == ["inside"]
    run = await told(client, "training/inside")
    assert run["config"] is None
    assert run["checkpoints"] == []
    assert "hunter2" not in json.dumps(run)
    for name in ("linked", "file", "..", "../outside", "../../etc", ".", "", "loop", "inside/..", "a\x00b", "/etc"):
        answer = await client.get(f"/api/v1/training/{quote(name, safe='')}")
        assert "outside" not in answer.text or answer.status_code == 404, name
        assert answer.status_code == 404 or "items" in answer.json(), name


async def test_a_folder_that_is_not_there(client_of: ClientOf, filled: Path, tmp_path: Path) -> None:
    found = await told(client_of(filled, training=tmp_path / "none"))
    assert found["folder"] == str(tmp_path / "none")
    assert all(row["shipped"] for row in found["items"])


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.lists(st.floats(-1e6, 1e6) | st.none(), min_size=1, max_size=6000), st.integers(1, 5))
def test_thinning_keeps_ends_and_extremes(values: list[float | None], parts: int) -> None:
    scaled = {f"p{k}": [None if value is None else value * (k - 2) for value in values] for k in range(parts)}
    events: list[dict[str, Any]] = [
        {"event": "step", "step": n, "loss": value, "parts": {name: column[n] for name, column in scaled.items()}}
        for n, value in enumerate(values)
    ]
    (group,) = curves(events)
    assert group["points"] == len(values)
    assert len(group["step"]) <= POINTS
    assert (group["step"][0], group["step"][-1]) == (0, len(values) - 1)
    columns = {"train/loss": values, **{f"train/loss/{name}": column for name, column in scaled.items()}}
    assert {one["name"] for one in group["series"]} == set(columns)
    for one in group["series"]:
        full = columns[one["name"]]
        assert one["values"] == [full[at] for at in group["step"]]
        known, shown = ([value for value in some if value is not None] for some in (full, one["values"]))
        assert [min(shown, default=None), max(shown, default=None)] == [
            min(known, default=None),
            max(known, default=None),
        ]


def test_a_file_that_grows_is_read_again(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a", [step(1, 4.0)]) / "metrics.jsonl"
    assert len(read_events(path).events) == 1
    with path.open("a") as file:
        file.write(json.dumps(step(2, 3.0)) + "\n")
    assert len(read_events(path).events) == 2
