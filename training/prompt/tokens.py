"""The tokens of a policy: a text tokenizer (any of Hugging Face's fast ones) with our tokens added to it.

    plan tokens    the 273 spellings of `catp.planlang.vocabulary`
    bucket tokens  levels of prices, times, accuracies, weights, quality (`catp.training.prompt.buckets`)
    marks          where the parts of a prompt begin, and `<score>`, where quality is read

The added tokens are saved with the tokenizer, so that a checkpoint folder needs nothing else.
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from catp.planlang.vocabulary import Vocabulary
from catp.training.prompt.buckets import QUALITY_LEVELS, Kind, bucket_tokens, level, spell

__all__ = ["MARKS", "PolicyTokens", "added_tokens"]

MARKS = ("<catp:tools>", "<catp:inputs>", "<catp:goals>", "<catp:request>", "<catp:objective>", "<arrow>", "<score>")


def added_tokens(vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return every token that is added to a text tokenizer, in the order of their ids."""
    return (*vocabulary.spellings, *bucket_tokens(), *MARKS)


class PolicyTokens:
    """Ids of texts, plan tokens, buckets and marks in one model's vocabulary.

    Args:
        tokenizer: a fast tokenizer of `transformers` that has all added tokens; see `extend` and `load`.
        vocabulary: the plan tokens.

    Raises:
        ValueError: the tokenizer lacks a token: it is not, or not any more, the policy's.
    """

    def __init__(self, tokenizer: Any, vocabulary: Vocabulary | None = None) -> None:
        self.tokenizer = tokenizer
        self.vocabulary = vocabulary or Vocabulary()
        known = tokenizer.get_vocab()
        missing = [token for token in added_tokens(self.vocabulary) if token not in known]
        if missing:
            raise ValueError(
                f"the tokenizer lacks {len(missing)} of the policy's tokens, first {missing[0]}: it belongs to another "
                "model; use the tokenizer of the checkpoint's own folder"
            )
        self._known: dict[str, int] = known
        self._text = lru_cache(maxsize=100_000)(self._encode)

    @classmethod
    def extend(cls, tokenizer: Any, vocabulary: Vocabulary | None = None) -> "PolicyTokens":
        """Add our tokens to a text tokenizer (in place) and return the policy's tokens."""
        vocabulary = vocabulary or Vocabulary()
        tokenizer.add_tokens(list(added_tokens(vocabulary)), special_tokens=True)
        return cls(tokenizer, vocabulary)

    @classmethod
    def load(cls, folder: Path) -> "PolicyTokens":
        """Read the tokenizer of a checkpoint folder."""
        from transformers import AutoTokenizer

        return cls(AutoTokenizer.from_pretrained(str(folder), local_files_only=True))

    def __len__(self) -> int:
        """How many ids there are: the rows a model's embedding needs."""
        return max(self._known.values()) + 1

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all tokens and ids: two tokenizers that spell anything differently differ here."""
        listed = "\n".join(f"{token}\t{number}" for token, number in sorted(self._known.items()))
        probe = " ".join(map(str, self._encode("Read the 12 pages, ocr_rapid(image) -> Größe.")))
        return hashlib.sha256(f"{listed}\n{probe}".encode()).hexdigest()

    def text(self, text: str, most: int | None = None) -> tuple[int, ...]:
        """Return the ids of a text, cut to `most`; our own tokens written in it stay plain text."""
        found = self._text(text)
        return found if most is None else found[:most]

    def mark(self, spelling: str) -> int:
        """Return the id of one of `MARKS`, or of any token by its spelling."""
        return self._known[spelling]

    def bucket(self, kind: Kind, value: float | None) -> int:
        """Return the id of the level a value falls into."""
        return self._known[spell(kind, level(kind, value))]

    @cached_property
    def plan_ids(self) -> tuple[int, ...]:
        """The model's id of every plan token, by its id in the plan vocabulary."""
        return tuple(self._known[spelling] for spelling in self.vocabulary.spellings)

    @cached_property
    def plan_places(self) -> dict[int, int]:
        """The reverse of `plan_ids`."""
        return {number: place for place, number in enumerate(self.plan_ids)}

    @cached_property
    def quality_ids(self) -> tuple[int, ...]:
        """The model's ids of `<Q0>`, `<Q1>`, ..., which stand for `QUALITY_LEVELS`."""
        return tuple(self._known[spell("Q", place)] for place in range(len(QUALITY_LEVELS)))

    @cached_property
    def start(self) -> tuple[int, ...]:
        """What every prompt begins with: the tokenizer's own beginning of text, if it has one."""
        return () if self.tokenizer.bos_token_id is None else (int(self.tokenizer.bos_token_id),)

    @cached_property
    def pad(self) -> int:
        """The id that fills up batches; never attended to."""
        for found in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if found is not None:
                return int(found)
        return 0

    def spellings(self, ids: Sequence[int]) -> list[str]:
        """Return tokens as a reader wants to see them."""
        return [str(token) for token in self.tokenizer.convert_ids_to_tokens(list(ids))]

    def _encode(self, text: str) -> tuple[int, ...]:
        # a name such as `<plan>` in somebody's request must not become our token
        plain = text.replace("<", "< ")
        return tuple(int(number) for number in self.tokenizer(plain, add_special_tokens=False)["input_ids"])
