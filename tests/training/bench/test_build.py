"""Building a small benchmark: it can be stopped and goes on, gives the same content again, and is valid."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from catp.cli.main import app
from catp.training.bench.families import FAMILIES
from catp.training.bench.finish import price_tables
from catp.training.bench.measure import measured
from catp.training.bench.tasks import generate, tasks_digest
from catp.training.data.files import read
from catp.training.data.validate import validate
from catp.training.evaluate.candidates import candidate_sets

pytestmark = [pytest.mark.zoo, pytest.mark.xdist_group("bench-build")]

FAMILY = ("text-summary", "photo-large", "text-mood-words")  # a test, a training and a validation family
TASKS = 2
SHARE = TASKS / next(one.inputs_wanted for one in FAMILIES if one.id == FAMILY[0])
ARGUMENTS = ["bench", "build", "--track", "measured", f"--share={SHARE}", *(f"--family={name}" for name in FAMILY)]

DIES = r"""
import os, signal, sys
from pathlib import Path
from catp.cli.main import app
from catp.training.bench.collect import Collector

part, collect = Path(sys.argv[-1]) / "catp-bench" / "measured.part.jsonl", Collector.collect

async def dying(self, task):
    if part.read_bytes().count(b"\n") >= 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return await collect(self, task)

Collector.collect = dying
app(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built")
    done = CliRunner().invoke(app, [*ARGUMENTS, "-o", str(out), "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["schema"] == "catp.bench-build/1"
    assert said["catp-bench"]["tasks"] == len(FAMILY) * TASKS
    return out / "catp-bench"


def test_all_files_are_there_and_valid(built: Path) -> None:
    names = {str(path.relative_to(built)) for path in built.rglob("*") if path.is_file()}
    sides = {f"{kind}/{side}.jsonl.gz" for kind in ("measured", "logged") for side in ("train", "val", "test")}
    rest = {"tasks.jsonl.gz", "toolset.json", "prices.json", "splits.json", "digests.json", "collection.json"}
    assert names == sides | rest
    for path in (built / "measured", built / "logged"):
        report = validate(path)
        assert not report.findings
    sets = list(candidate_sets(read(built / "measured")))
    assert len(sets) == len(FAMILY) * TASKS
    assert all(4 <= len(one) <= 40 for one in sets)


def test_what_a_system_would_have_logged_is_the_first_draw(built: Path) -> None:
    logged = list(read(built / "logged"))
    assert len(logged) == len(FAMILY) * TASKS
    assert all(record.policy.name == "mixture" and record.policy.propensity for record in logged)


def test_the_same_content_again_after_a_kill(built: Path, tmp_path: Path) -> None:
    """Killed in the middle of measuring, then called again."""
    part = tmp_path / "catp-bench" / "measured.part.jsonl"
    command = [sys.executable, "-c", DIES, *ARGUMENTS, "-o", str(tmp_path)]
    killed = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert killed.returncode == -signal.SIGKILL
    before = part.read_bytes().count(b"\n")
    with part.open("ab") as file:
        file.write(b'{"id": "cut sho')
    done = CliRunner().invoke(app, [*ARGUMENTS, "-o", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert before >= 3
    assert not part.exists()
    digests = [json.loads((folder / "digests.json").read_text()) for folder in (built, tmp_path / "catp-bench")]
    assert digests[0] == digests[1]


def test_a_part_of_another_build_is_refused_and_kept(tmp_path: Path) -> None:
    part = tmp_path / "catp-bench" / "measured.part.jsonl"
    part.parent.mkdir()
    part.write_text('{"tasks": "of something else"}\n')
    done = CliRunner().invoke(app, [*ARGUMENTS, "-o", str(tmp_path)])
    assert done.exit_code == 1
    assert "was begun with other tasks" in done.output
    assert part.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--track", "measurd"], "unknown track 'measurd'"),
        (["--share", "0"], "--share 0"),
        (["--family", "page-txt"], "page-text"),
    ],
)
def test_wrong_options_name_the_right_ones(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["bench", "build", *arguments, "-o", str(tmp_path)])
    assert done.exit_code == 2
    assert message in done.output


def test_a_part_does_not_take_the_place_of_the_whole() -> None:
    done = CliRunner().invoke(app, ["bench", "build", "--share", "0.1"])
    assert done.exit_code == 2
    assert "name a folder with -o" in done.output


def test_price_tables_are_seeded_and_within_bounds() -> None:
    tables = price_tables(["b", "a"], 0)
    assert tables == price_tables(["a", "b"], 0) != price_tables(["a", "b"], 1)
    assert {side: len(found) for side, found in tables.items()} == {"train": 4, "test": 2}
    assert all(0.2 <= f <= 5 for found in tables.values() for table in found for f in table["factors"].values())


def test_tasks_only(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["bench", "build", "--track", "tasks", "--family", "text-summary", "-o", str(tmp_path)]
    )
    assert done.exit_code == 0, done.output
    digests = json.loads((tmp_path / "catp-bench" / "digests.json").read_text())
    again = tasks_digest(list(generate(0, families=[one for one in FAMILIES if one.id == "text-summary"])))
    assert digests == {"tasks.jsonl.gz": again}


def test_an_empty_part_file_has_no_records(tmp_path: Path) -> None:
    records, took = measured(tmp_path / "none.jsonl")
    assert records == []
    assert took.calls == 0
