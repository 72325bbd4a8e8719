"""What is on which side, and data that cannot be learned from."""

import gzip
import json
from pathlib import Path

import pytest

from catp.planlang.vocabulary import Vocabulary
from catp.training.caorl.config import DataConfig
from catp.training.caorl.sources import Side, load_cases, on_side
from catp.training.data.trajectory import Split
from catp.training.digest import file_digest
from tests.training.caorl.cases_making import records

DATA = DataConfig()


@pytest.mark.parametrize(
    ("split", "train", "val"),
    [
        (Split(name="train", inputs="train", phrasing="train"), True, False),
        (Split(name="train", inputs="train", phrasing="test"), False, False),
        (Split(name="train", inputs="val", phrasing="train"), False, True),
        (Split(name="train", inputs="test", phrasing="train"), False, False),
        (Split(name="val", inputs="train", phrasing="train"), False, True),
        (Split(name="val", inputs="train", phrasing="test"), False, False),
        (Split(name="train", inputs="val", phrasing="test"), False, False),
        (Split(name="val", inputs="test", phrasing="train"), False, False),
        (Split(name="test", inputs="train", phrasing="train"), False, False),
        (Split(name="train"), True, False),
    ],
)
def test_sides(split: Split, train: bool, val: bool) -> None:
    assert on_side(split, DATA, "train") is train
    assert on_side(split, DATA, "val") is val


def test_tools_held_out_are_neither_offered_nor_learned_from() -> None:
    without = DataConfig(limit=3, without_tools=("ocr_rapid",))
    found, digests = load_cases(without, Vocabulary(), "train")
    assert len(found) == 3
    assert all(tool.name != "ocr_rapid" for case in found for tool in case.view.tools)
    assert all(len(sha) == 64 for sha in digests.values())


def test_an_empty_side_says_which_and_what_to_look_at(tmp_path: Path) -> None:
    path = tmp_path / "only-test.jsonl"
    record = records()[0].model_copy(update={"split": Split(name="test")})
    path.write_text(record.to_line() + "\n")
    with pytest.raises(ValueError, match=r"side 'train'.*catp data stats"):
        load_cases(DataConfig(paths=(str(path),)), Vocabulary(), "train")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"no-such-file.*shipped"):
        load_cases(DataConfig(paths=("no-such-file.jsonl",)), Vocabulary(), "train")


def test_a_score_off_the_scale_names_the_record(tmp_path: Path) -> None:
    record = json.loads(records()[0].to_line())
    record["outcome"]["score"] = 1.7
    record["split"] = {"name": "train", "inputs": "train", "phrasing": "train"}
    path = tmp_path / "bad.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.write(json.dumps(record) + "\n")
    with pytest.raises(ValueError, match=rf"{record['trajectory_id']}.*1\.7.*validate"):
        load_cases(DataConfig(paths=(str(path),)), Vocabulary(), "train")


def test_only_files_that_rows_were_used_from_have_digests(tmp_path: Path) -> None:
    for side in ("train", "val", "test"):
        split = Split(name=side, inputs="train", phrasing="train")
        path = tmp_path / f"{side}.jsonl"
        path.write_text("".join(one.model_copy(update={"split": split}).to_line() + "\n" for one in records()))
    data = DataConfig(paths=(str(tmp_path),))
    sides: tuple[Side, ...] = ("train", "val")
    for learned in sides:
        _, digests = load_cases(data, Vocabulary(), learned)
        assert digests == {f"{tmp_path}/{tmp_path.name}/{learned}.jsonl": file_digest(tmp_path / f"{learned}.jsonl")}


def test_the_shipped_run_names_no_test_rows() -> None:
    _, train = load_cases(DataConfig(limit=2), Vocabulary(), "train")
    assert list(train) == ["catp-bench/measured/train.jsonl.gz"]
