import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.planlang.vocabulary import Vocabulary
from catp.training.policy.checkpoint import Policy
from catp.training.policy.tokenizer import train_tokenizer
from catp.training.prompt.tokens import PolicyTokens, added_tokens
from tests.training.policy.tiny import TEXTS


def ids(tokenizer: object, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])  # type: ignore[operator]


@pytest.mark.parametrize("name", ["ocr_rapid", "ocr.rapid", "OcrRapid", "ocrRapid", "OCR rapid", "ocr__rapid"])
def test_every_spelling_of_a_name_is_the_same_tokens(policy: Policy, name: str) -> None:
    assert policy.tokens.text(name) == policy.tokens.text("ocr rapid")


def test_words_of_a_name_are_told_apart_where_case_changes() -> None:
    tokenizer = train_tokenizer(["http fetch httpfetch"] * 5, 300)
    assert len(ids(tokenizer, "http fetch")) == 2
    assert len(ids(tokenizer, "httpfetch")) == 1
    assert ids(tokenizer, "HTTPFetch") == ids(tokenizer, "httpFetch") == ids(tokenizer, "http fetch")


def test_digits_and_punctuation_are_tokens_of_their_own(policy: Policy) -> None:
    assert policy.tokens.spellings(policy.tokens.text("12.50")) == ["1", "2", ".", "5", "0"]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.text(max_size=40))
def test_any_text_has_ids_below_the_size_and_no_marks(text: str) -> None:
    tokens = _tokens()
    found = tokens.text(text)
    assert all(3 <= number < len(tokens) - len(added_tokens(tokens.vocabulary)) for number in found)
    assert bool(found) == bool(text.replace("_", " ").strip()) or not text.isprintable()


_made: list[PolicyTokens] = []


def _tokens() -> PolicyTokens:
    if not _made:
        _made.append(PolicyTokens.extend(train_tokenizer(TEXTS, 320), Vocabulary(8)))
    return _made[0]


def test_same_texts_give_the_same_tokenizer_in_another_process_and_order(tmp_path: Path) -> None:
    program = (
        "import sys; from catp.training.policy.tokenizer import train_tokenizer\n"
        f"train_tokenizer(list(reversed({TEXTS!r})), 320).save_pretrained(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "a")], check=True, env={"PYTHONHASHSEED": "7"})
    train_tokenizer(TEXTS, 320).save_pretrained(str(tmp_path / "b"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_frequent_words_become_one_token() -> None:
    tokenizer = train_tokenizer(["translate the page"] * 5, 300)
    assert len(ids(tokenizer, "Translate the PAGE")) == 3
    assert len(tokenizer) <= 300


def test_a_size_without_room_for_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 259 tokens"):
        train_tokenizer(TEXTS, 100)
