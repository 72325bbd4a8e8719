"""The text tokenizer of a new network: byte-level BPE over lower-cased words, trained on the texts it will read.

Names of tools and parameters are words too: `_`, a `.` between letters and a change of case inside a name separate
words as a space does, so that `ocr_rapid`, `ocr.rapid`, `OcrRapid` and "ocr rapid" are the same tokens. Every digit is
a token of its own. Spaces are not kept: the policy reads text and never writes it.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from catp.training.policy.errors import needs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["BOS", "EOS", "PAD", "train_tokenizer"]

BOS, EOS, PAD = "<s>", "</s>", "<pad>"

_BYTES = 256


def train_tokenizer(texts: Iterable[str], size: int) -> "PreTrainedTokenizerFast":
    """Return a tokenizer of at most `size` tokens; the same texts, in any order, give the same one.

    Args:
        texts: what will be read: requests, names, descriptions.
        size: tokens, with the 256 bytes and `<s>`, `</s>`, `<pad>`; fewer come out if the texts are few.

    Raises:
        ValueError: `size` leaves no room for the bytes.
        ImportError: `tokenizers` or `transformers` is not installed.
    """
    least = _BYTES + len((BOS, EOS, PAD))
    if size < least:
        raise ValueError(f"a tokenizer needs at least {least} tokens (256 bytes and 3 marks), not {size}")
    try:
        from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
        from transformers import PreTrainedTokenizerFast
    except ImportError as error:
        raise needs("tokenizers and transformers", "a tokenizer") from error

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Replace(Regex(r"_+|(?<=\p{L})\.(?=\p{L})"), " "),
            # case is gone after the next line, so the words inside a name are told apart before it
            normalizers.Replace(Regex(r"(?<=[\p{Ll}\p{N}])(?=\p{Lu})|(?<=\p{Lu})(?=\p{Lu}\p{Ll})"), " "),
            normalizers.Lowercase(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation("isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
    )
