"""Data cards: what people wrote stays, what is computed is replaced, and `catp data card` does both."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from catp.cli.main import app
from catp.training.data.card import Card, filled, skeleton
from catp.training.data.card_blocks import BLOCKS, blocks, figures_of
from catp.training.data.card_data import CardError, card_files, gather
from catp.training.data.card_tally import Tally
from catp.training.data.files import write
from catp.training.evaluate.candidates import candidate_sets
from tests.training.data.making import TOOLSET, records

TALLY = Tally()
FIGURES = figures_of(list(candidate_sets(TALLY.watch(records(5, sets=8)))), TALLY, TOOLSET.by_name)


def fill(text: str) -> Card:
    return filled(text, blocks(FIGURES), FIGURES.counts)


def run(*args: str | Path) -> Any:
    return CliRunner().invoke(app, ["data", "card", *map(str, args)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "little"
    (found / "measured").mkdir(parents=True)
    write(found / "measured" / "a.jsonl.gz", records(5, sets=8))
    TOOLSET.save(found / "toolset.json")
    return found


# the README


def test_prose_stays_and_blocks_are_replaced() -> None:
    readme = "# Mine\n\nWords — |kept|.\n<!-- figures:counts -->\nold\n<!-- end -->\n\n  Trailing words.\n"
    text = fill(readme).text
    before, after = readme.split("<!-- figures:counts -->\nold\n<!-- end -->")
    assert text.startswith(before)
    assert text.endswith(after)
    assert "old" not in text
    assert "| tasks / inputs | 4 / 8 |" in text
    assert fill(text).text == text


def test_the_skeleton_has_all_blocks_and_says_what_is_to_be_written() -> None:
    card = fill(skeleton("little", FIGURES))
    assert card.missing == ()
    assert card.todo[0] == "front matter"  # the records name no licence
    assert {"Source and licence", "Scores", "Known flaws", "What it cannot show", "How to rebuild it"} <= set(card.todo)
    assert all(f"<!-- figures:{name} -->" in card.text for name in BLOCKS)
    assert fill(card.text) == card


def test_missing_blocks_are_named() -> None:
    assert fill("<!-- figures:counts -->\n<!-- end -->\n").missing == BLOCKS[1:]


def test_markers_in_code_are_words() -> None:
    readme = "```\n<!-- figures:counts -->\n```\n"
    assert fill(readme).text == readme


@pytest.mark.parametrize(
    ("readme", "message"),
    [
        ("\n<!-- figures:count -->\n<!-- end -->\n", r"README.md:2: .*did you mean 'counts'"),
        ("<!-- figures:shape -->\n", r"README.md:1: block 'shape' does not end"),
        ("<!-- figures:shape -->\n<!-- figures:counts -->\n<!-- end -->\n", "does not end before line 2"),
        ("<!-- end -->\n", r"README.md:1: .*ends no block"),
        ("<!-- figures:shape -->\n<!-- end -->\n" * 2, r"README.md:3: block 'shape' is there twice, first in line 1"),
    ],
)  # fmt: skip
def test_broken_markers_are_found(readme: str, message: str) -> None:
    with pytest.raises(CardError, match=message):
        fill(readme)


@pytest.mark.parametrize("language", ["language: [xx]\n", "language:\n- xx\n- yy\n", "language:\n  - xx\n", ""])
def test_front_matter_gets_languages_and_size_and_keeps_the_rest(language: str) -> None:
    text = fill(f"---\nlicense: mit\n{language}tags: [a]\n---\n# x\nlanguage: prose\n").text
    front, rest = text.split("\n---\n")
    assert rest == "# x\nlanguage: prose\n"
    lines = front.splitlines()
    assert sorted(lines) == ["---", "language: [en]", "license: mit", "size_categories: [n<1K]", "tags: [a]"]


def test_simulated_data_say_so_first() -> None:
    known = records(5)
    source = known[0].provenance.model_copy(update={"source": "simulated by catp-sim"})
    made_up = [one.model_copy(update={"provenance": source}) for one in known]
    tally = Tally()
    sets = list(candidate_sets(tally.watch([*made_up[:3], *known[3:]])))
    assert blocks(figures_of(sets, tally, {}))["counts"].startswith("**Simulated.** 3 of 12 records")


# the command


def test_a_folder_gets_a_card_and_keeps_it(folder: Path) -> None:
    first = run(folder)
    assert first.exit_code == 0, first.output
    assert f"wrote {folder / 'README.md'}" in first.stdout
    assert "TODO, to be written by you: front matter, What it is for" in first.stderr
    readme = folder / "README.md"
    readme.write_text(readme.read_text().replace("TODO: what is wrong", "Nothing is wrong, though not"))
    files = {path: path.read_bytes() for path in [readme, *(folder / "card").iterdir()]}
    assert {path.name for path in files} == {
        "README.md", "sizes.svg", "distribution.svg", "cloud.svg", "tradeoff.svg", "capabilities.svg",
    }  # fmt: skip
    assert run(folder).exit_code == 0
    assert {path: path.read_bytes() for path in files} == files


def test_json_has_the_figures(folder: Path) -> None:
    result = run(folder, "--json")
    data = json.loads(result.stdout)
    assert data["schema"] == "catp.data-card/1"
    assert data["figures"]["counts"]["inputs"] == 8
    assert data["figures"]["tradeoff"]["rules"]["cheapest"][0]["regret"] == 0.0
    assert "Known flaws" in data["todo"]


def test_new_data_replace_figures_and_pictures(folder: Path) -> None:
    (folder / "card").mkdir()
    (folder / "card" / "tradeoff.svg").write_text("of earlier data")
    one_each = [one for one in records(5, sets=8) if one.trajectory_id.endswith("-0")]
    write(folder / "measured" / "a.jsonl.gz", one_each)
    assert run(folder).exit_code == 0
    assert not (folder / "card" / "tradeoff.svg").exists()
    text = (folder / "README.md").read_text()
    assert "there is nothing to choose" in text
    assert "tradeoff.svg" not in text


def test_other_files_and_copies_are_passed_over(folder: Path) -> None:
    (folder / "tasks.jsonl").write_text('{"id": "not a trajectory"}\n')
    (folder / "empty.jsonl").write_text("")
    (folder / ".hidden.jsonl").write_text("{")
    write(folder / "measured" / "a.parquet", records(5, sets=8))
    assert card_files(folder) == [folder / "measured" / "a.jsonl.gz"]
    (folder / "measured" / "a.jsonl.gz").unlink()
    assert card_files(folder) == [folder / "measured" / "a.parquet"]


def test_logged_plans_of_the_same_inputs_are_not_counted_again(folder: Path) -> None:
    (folder / "logged").mkdir()
    every = records(5, sets=8)
    write(folder / "logged" / "a.jsonl.gz", [one for one in every if one.trajectory_id.endswith("-0")])
    found = gather(folder)
    assert found.extracts == {"logged/a.jsonl.gz": 8}
    assert (found.tally.records, len(found.sets)) == (24, 8)
    assert found.tally.shape() == TALLY.shape()
    write(folder / "logged" / "a.jsonl.gz", every[:3])
    with pytest.raises(ValueError, match=r"'input-0' is in .*put its records into one file"):
        gather(folder)


def test_what_cannot_be_done_is_said_and_nothing_is_written(folder: Path, tmp_path: Path) -> None:
    assert run(tmp_path / "nowhere").exit_code == 2
    (tmp_path / "bare").mkdir()
    bare = run(tmp_path / "bare")
    assert (bare.exit_code, "no file of trajectories in here" in bare.stderr) == (2, True)
    (folder / "README.md").write_text("<!-- figures:counts -->\n")
    unended = run(folder)
    assert (unended.exit_code, "does not end" in unended.stderr) == (2, True)
    (folder / "measured" / "b.jsonl").write_text("{\n")
    broken = run(folder)
    assert (broken.exit_code, "b.jsonl:1:" in broken.stderr) == (1, True)
    assert not (folder / "card").exists()


def test_records_without_a_price_scale_need_one(folder: Path) -> None:
    bare = [one.model_copy(update={"objective": type(one.objective)()}) for one in records(5, sets=8)]
    write(folder / "measured" / "a.jsonl.gz", bare)
    assert "--price-scale" in run(folder).stderr
    assert run(folder, "--price-scale", "0.001").exit_code == 0
    assert run(folder, "--price-scale", "0").exit_code == 2
    assert run(folder, "--price-scale", "lots").exit_code == 2
    unscored = [one.model_copy(update={"outcome": one.outcome.model_copy(update={"score": None})}) for one in bare]
    write(folder / "measured" / "a.jsonl.gz", unscored)
    assert "none of 24 records has a score and a price" in run(folder).stderr
