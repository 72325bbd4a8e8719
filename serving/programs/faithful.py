"""A tokenizer for llguidance that spells what a grammar forces as it is written."""

from typing import Any

__all__ = ["faithful"]

_PROBE = 'The_first  of\t12 fiSh:\n {"Å": "ﬁ é"}'


class _Greedy:
    """Spells text by the longest tokens that fit, which loses nothing; in the form llguidance wants tokenizers in."""

    bos_token_id = None

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = tokenizer.eos_token
        self.tokens = [tokenizer.decode_bytes([token]) for token in range(tokenizer.vocab_size)]
        self.special_token_ids = [token for token in range(len(self.tokens)) if tokenizer.is_special_token(token)]

    def __call__(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer.greedy_tokenize(text)
        return found


def faithful(tokenizer: Any) -> Any:
    """Return a tokenizer whose spelling of forced text is that text; some fold case or drop spaces (catp-tiny's)."""
    from llguidance import LLTokenizer, TokenizerWrapper

    if tokenizer.decode_bytes(tokenizer.tokenize_str(_PROBE)) == _PROBE.encode():
        return tokenizer
    return LLTokenizer(TokenizerWrapper(_Greedy(tokenizer)), eos_token=tokenizer.eos_tokens)
