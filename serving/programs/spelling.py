"""Tokens as text: prompts in, text out piece by piece, and the bytes of single tokens."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

__all__ = ["Spelling", "Stream"]


class Spelling:
    """A Hugging Face tokenizer as text generation needs it.

    Args:
        tokenizer: a fast tokenizer of `transformers`.
        eos: ids that end a text; None: what the tokenizer says.
    """

    def __init__(self, tokenizer: Any, eos: Sequence[int] | None = None) -> None:
        self.tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer
        own = tokenizer.eos_token_id
        self.eos = frozenset(eos if eos is not None else () if own is None else (own,))

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the ids of a prompt, with what the tokenizer puts before every text."""
        return tuple(self.tokenizer(text)["input_ids"])

    def chat(self, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        """Return the ids of a conversation by the model's template, up to where the assistant begins.

        Raises:
            ValueError: the model has no chat template, or its template refuses these messages.
        """
        if not self.tokenizer.chat_template:
            raise ValueError("this model has no chat template: use /v1/completions, or a chat model")
        try:
            text = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        except Exception as error:  # templates are programs: jinja's errors, and whatever they raise themselves
            raise ValueError(f"the model's chat template refuses these messages: {error}") from error
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def stream(self) -> "Stream":
        """Return a decoder of one text that grows."""
        return Stream(self._backend)

    def raw(self, token: int) -> bytes:
        """Return the bytes of one token, which need not be whole characters."""
        piece = self._backend.id_to_token(token)
        if piece is None:
            return b""
        if token in self._added:
            return str(piece).encode()
        if self._byte_level:
            return bytes(_BYTES.get(character, ord("?")) for character in piece)
        if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            return bytes.fromhex(piece[3:5])
        return str(piece).replace("▁", " ").encode()

    @cached_property
    def _added(self) -> frozenset[int]:
        return frozenset(self._backend.get_added_tokens_decoder())

    @cached_property
    def _byte_level(self) -> bool:
        return "ByteLevel" in str(self._backend.decoder)


class Stream:
    """Decodes token by token; a character that is not complete waits for the rest of it."""

    def __init__(self, backend: Any) -> None:
        from tokenizers.decoders import DecodeStream

        self._backend, self._decoder = backend, DecodeStream(skip_special_tokens=True)

    def add(self, token: int) -> str:
        """Take a token and return the text that is certain now."""
        return self._decoder.step(self._backend, token) or ""


def _byte_level_alphabet() -> dict[str, int]:
    """GPT-2's printable spelling of bytes: itself where it can be printed, else the next free one from 256 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    found = {chr(byte): byte for byte in printable}
    for number, byte in enumerate(byte for byte in range(256) if byte not in printable):
        found[chr(256 + number)] = byte
    return found


_BYTES = _byte_level_alphabet()
