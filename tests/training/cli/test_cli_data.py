"""`catp data`: as a user meets it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from catp.cli.main import app
from catp.training.data.files import read, write
from tests.training.data.making import TOOLSET, dicts, records


@pytest.fixture
def data(tmp_path: Path) -> Path:
    TOOLSET.save(tmp_path / "toolset.json")
    write(tmp_path / "a.jsonl", records(0))
    return tmp_path / "a.jsonl"


def catp(*args: object) -> Result:
    return CliRunner().invoke(app, ["data", *map(str, args)], env={"NO_COLOR": "1"})


def as_json(*args: object) -> Any:
    done = catp(*args, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def damage(data: Path) -> None:
    found = dicts(records(0))
    found[1]["outcome"]["price_usd"] = "1"
    found[4]["events"][0]["price_us"] = found[4]["events"][0].pop("price_usd")
    data.write_text("".join(json.dumps(record) + "\n" for record in found))


def test_validate_says_what_is_right(data: Path) -> None:
    done = catp("validate", data)
    assert (done.exit_code, done.stdout) == (0, "12 records in 1 file: nothing wrong\n")
    assert as_json("validate", data)["ok"] is True


def test_validate_says_what_is_wrong_and_where(data: Path) -> None:
    damage(data)
    done = catp("validate", data)
    assert done.exit_code == 1
    assert f"{data}:2: [price] outcome.price_usd: the events' prices sum to 0.0" in done.stdout
    assert f"{data}:5: [unknown_field] events[0].price_us: there is no field 'price_us' here" in done.stdout
    assert "did you mean 'price_usd'?" in done.stdout
    assert done.stdout.endswith("11 records in 1 file: 1 price, 1 unknown_field\n")


def test_validate_lists_at_most_so_many(data: Path) -> None:
    damage(data)
    done = catp("validate", data, "--max", 1)
    assert "… and 1 more" in done.stdout
    found = json.loads(catp("validate", data, "--max", 0, "--json").stdout)
    assert (found["schema"], found["findings"], found["total"]) == ("catp.data.validate/1", [], 2)


def test_validate_takes_several_files_and_folders(data: Path) -> None:
    write(data.with_name("b.parquet"), records(0))
    found = json.loads(catp("validate", data.parent, "--json").stdout)
    assert (found["files"], found["records"], found["counts"]["id"]) == (2, 24, 12)


def test_a_toolset_that_is_none_is_a_usage_error(data: Path) -> None:
    for name in ("nobody.json", data):
        done = catp("validate", data, "--toolset", name)
        assert done.exit_code == 2
        assert "--toolset" in done.stderr


def test_a_missing_toolset_is_a_note(data: Path) -> None:
    (data.parent / "toolset.json").unlink()
    done = catp("validate", data)
    assert done.exit_code == 0
    assert "note: no file of toolset 'little' was found" in done.stderr


def test_show(data: Path) -> None:
    shown = catp("show", data, "r0-1").stdout
    for part in ("r0-1", "What does input-0 say? (en)", "page: image (640 pixels)", "both = compare(de, fr)", "cer"):
        assert part in shown
    price = records(0)[1].outcome.price_usd
    assert f"${price:f}" in shown
    bare = catp("show", data, "--line", 3).stdout
    assert "read = ocr(page=clean)" in bare
    assert "strength=0.5" in bare
    assert as_json("show", data, "r0-1") == dicts(records(0))[1]
    assert as_json("show", data) == dicts(records(0))[0]


def test_show_of_what_is_not_there(data: Path) -> None:
    assert catp("show", data, "nobody").exit_code == 1
    assert catp("show", data, "--line", 99).exit_code == 1
    assert catp("show", data, "r0-1", "--line", 2).exit_code == 2
    missing = catp("show", data.with_name("nobody.jsonl"))
    assert missing.exit_code == 2
    assert "there is no such file" in missing.stderr


def test_show_escapes_what_would_steer_the_terminal(data: Path) -> None:
    found = dicts(records(0, sets=1))
    found[0]["request"]["text"] = "\x1b[2Jgone"
    found[0]["trajectory_id"] = "a\x1b]0;title\x07"
    data.write_text(json.dumps(found[0]) + "\n")
    assert "\x1b" not in catp("show", data).stdout


def test_stats(data: Path) -> None:
    found = as_json("stats", data)
    assert (found["records"], found["tasks"], found["inputs"]) == (12, 2, 4)
    assert [row["alpha"] for row in found["cheapest_best"]] == [0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0]
    told = catp("stats", data).stdout
    assert told.split()[:2] == ["records", "12"]
    assert "inputs compared, with two plans or more: 4" in told


def test_stats_of_a_broken_file_point_to_the_validator(data: Path) -> None:
    damage(data)
    done = catp("stats", data)
    assert done.exit_code == 1
    assert f"{data}:5: events[0].price_us:" in done.stderr
    assert "catp data validate" in done.stderr


def test_split_by_group_then_by_input_is_clean(data: Path) -> None:
    out = data.with_name("b.parquet")
    found = as_json("split", data, "-o", out, "--val", 0.3, "--test", 0.3, "--seed", 3)
    assert sum(found["sides"].values()) == found["records"] == 12
    assert as_json("split", out, "-o", out, "--by", "input")["by"] == "input"  # in place
    assert catp("validate", out).exit_code == 0
    assert [r.trajectory_id for r in read(out)] == [r.trajectory_id for r in records(0)]


@pytest.mark.parametrize("args", [("--by", "plan"), ("--val", 0.6, "--test", 0.4), ("--test", 1.5), ("--val", -0.1)])
def test_split_refuses_what_makes_no_sense(data: Path, args: tuple[object, ...]) -> None:
    assert catp("split", data, "-o", data.with_name("b.jsonl"), *args).exit_code == 2
    assert not data.with_name("b.jsonl").exists()


def test_convert_there_and_back(data: Path) -> None:
    packed, again = data.with_name("b.parquet"), data.with_name("c.jsonl")
    assert as_json("convert", data, packed)["records"] == 12
    assert catp("convert", packed, again).exit_code == 0
    assert again.read_bytes() == data.read_bytes()


def test_convert_says_what_it_cannot_do(data: Path) -> None:
    unknown = catp("convert", data, data.with_name("b.xlsx"))
    assert unknown.exit_code == 2
    assert "known are: d3rlpy, minari, .jsonl, .jsonl.gz, .parquet" in unknown.stderr
    gold = catp("convert", data.parent, data.with_name("b.parquet"), "--from", "taskbench")
    assert gold.exit_code == 2
    assert "nobody ran" in gold.stderr
    assert catp("convert", data.with_name("nobody.jsonl"), data.with_name("b.jsonl")).exit_code == 2


def test_convert_to_d3rlpy_takes_the_toolset(data: Path) -> None:
    out = data.parent / "elsewhere" / "a.h5"
    out.parent.mkdir()
    assert as_json("convert", data, out, "--toolset", data.with_name("toolset.json"))["records"] == 12
    assert out.stat().st_size > 0
    unused = catp("convert", data, data.with_name("b.jsonl"), "--toolset", data.with_name("toolset.json"))
    assert unused.exit_code == 2
    assert "a toolset is for d3rlpy and minari" in unused.stderr


def test_the_shared_pool_converts_and_stays_clean(shared_opencatp: Path, tmp_path: Path) -> None:
    out = tmp_path / "pool.parquet"
    assert as_json("convert", shared_opencatp, out)["records"] == 1_977
    assert catp("validate", out, "--toolset", shared_opencatp.with_name("toolset.json")).exit_code == 0


def test_errors_are_json_for_those_who_read_json(data: Path) -> None:
    done = catp("show", data, "nobody", "--json")
    assert json.loads(done.stdout)["schema"] == "catp.error/1"
    assert done.exit_code == 1


def test_export_of_no_store(tmp_path: Path) -> None:
    done = catp("export", "--from-store", tmp_path / "nobody.db", "-o", tmp_path / "a.jsonl")
    assert done.exit_code == 6
    assert "there is no run store" in done.stderr
    assert not (tmp_path / "a.jsonl").exists()


TOOLS = """
from catp.tools.catalogue import Catalogue
from catp.tools.decorator import tool
from catp.tools.price import PerCall

@tool(placement="thread", price=PerCall("0.004"))
def shout(text: str) -> str:
    return text.upper()

@tool(placement="thread", price=PerCall("0.001"))
def count(text: str) -> int:
    return len(text)

CATALOGUE = Catalogue([shout, count])
"""


def test_runs_of_the_store_become_valid_trajectories(tmp_path: Path) -> None:
    """The whole way: run a plan, export it, check it, look at it."""
    (tmp_path / "mine.py").write_text(TOOLS)
    (tmp_path / "loud.plan").write_text("in text: text\nloud = shout(text)\nn = count(loud)\nout loud, n\n")

    def run(*args: str) -> str:
        done = subprocess.run([sys.executable, "-m", "catp.cli", *args], cwd=tmp_path, capture_output=True, text=True,
                              timeout=60, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    for text in ("a day", "a night"):
        run("run", "loud.plan", "--tools", "mine:CATALOGUE", "--store", "runs.db", "--input", f"text={text}")
    run("data", "export", "--from-store", "runs.db", "-o", "runs.jsonl.gz")
    assert run("data", "validate", "runs.jsonl.gz").startswith("2 records in 1 file: nothing wrong")
    found = list(read(tmp_path / "runs.jsonl.gz"))
    assert [str(record.outcome.price_usd) for record in found] == ["0.005", "0.005"]
    assert [node.tool for node in found[0].plan.nodes] == ["shout", "count"]
