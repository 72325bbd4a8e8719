"""Text to text: mending the spelling that a bad reading left, and translating with Apertium."""

import functools
import importlib.resources
import re
import subprocess
from pathlib import Path
from typing import Any, Literal

from catp.tools.builtin.needs import needs, needs_program
from catp.tools.builtin.prose import MAX_CHARS
from catp.tools.builtin.records import Translation
from catp.tools.decorator import Tool, tool
from catp.tools.price import ComputePrice

__all__ = ["TOOLS", "spelling_symspell", "translation_apertium"]

_WORD = re.compile(r"[A-Za-z]{4,}")
_PAIRS = {"es": "eng-spa", "ca": "eng-cat"}
_MODES = Path("/usr/share/apertium/modes")


@functools.cache
def _dictionary() -> tuple[Any, Any]:
    from symspellpy import SymSpell, Verbosity

    speller = SymSpell(max_dictionary_edit_distance=2, prefix_length=7)
    listed = importlib.resources.files("symspellpy") / "frequency_dictionary_en_82_765.txt"
    with importlib.resources.as_file(listed) as path:
        speller.load_dictionary(str(path), term_index=0, count_index=1)
    return speller, Verbosity.TOP


@tool(capability="spelling", price=ComputePrice(), setup=_dictionary, unavailable=needs("symspellpy"))
def spelling_symspell(text: str) -> str:
    """Replace unknown English words by the commonest known word within two edits; capitals and layout stay."""
    if len(text) > MAX_CHARS:
        raise ValueError(f"the text has {len(text):,} characters; at most {MAX_CHARS:,} are accepted")
    return _WORD.sub(lambda match: _mended(match.group()), text)


def _apertium() -> str | None:
    if reason := needs_program("apertium", "apertium apertium-eng-spa apertium-eng-cat")():
        return reason
    missing = [pair for pair in _PAIRS.values() if not (_MODES / f"{pair}.mode").exists()]
    return f"needs the language pair {missing[0]}: apt install apertium-{missing[0]}" if missing else None


@tool(capability="translation", price=ComputePrice(), family="programs", unavailable=_apertium)
def translation_apertium(text: str, target: Literal["es", "ca"] = "es") -> Translation:
    """Translate English into Spanish or Catalan with the Debian program apertium."""
    done = subprocess.run(
        ["apertium", "-u", _PAIRS[target]], input=text.encode(), capture_output=True, check=False, timeout=60
    )
    if done.returncode:
        raise RuntimeError(f"apertium ended with code {done.returncode}: {done.stderr.decode(errors='replace')[-300:]}")
    return Translation(done.stdout.decode(errors="replace").strip())


TOOLS: tuple[Tool[..., Any], ...] = (spelling_symspell, translation_apertium)


def _mended(word: str) -> str:
    speller, top = _dictionary()
    found = speller.lookup(word.lower(), top, max_edit_distance=1 if len(word) < 6 else 2)
    if not found or found[0].distance == 0 or (word[0].isupper() and found[0].distance > 1):
        return word
    better: str = found[0].term
    return better.capitalize() if word[0].isupper() else better
