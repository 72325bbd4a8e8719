"""How constants are spelled: strings, templates, numbers, money, durations. Shared by the text and the JSON form.

Reading and writing are exact inverses. Readers raise `TextError`, which says where inside the spelling the fault is,
so that each form can point at it in its own way.
"""

import json
import math
import re
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Final

from catp.planlang.money import Money, format_usd, parse_usd
from catp.planlang.nodes import Duration, Ref, Template, Usd

__all__ = [
    "KEYWORDS",
    "MAX_AMOUNT",
    "MAX_DIGITS",
    "TextError",
    "format_amount",
    "format_duration",
    "format_number",
    "format_string",
    "format_template",
    "is_hidden",
    "is_name",
    "is_word",
    "read_duration",
    "read_money",
    "read_number",
    "read_path",
    "read_string",
    "read_template",
    "read_template_body",
]

KEYWORDS: Final = frozenset(
    ("plan", "in", "limit", "out", "if", "and", "when", "else", "each", "true", "false", "null")
)
"""Words that cannot name an input or a step. After a dot, before `=` and as object keys they are ordinary names."""

MAX_DIGITS: Final = 4_000
"""The longest number accepted, in digits. Python itself refuses to print integers of more than 4,300 digits."""

MAX_AMOUNT: Final = 30
"""The longest amount or duration accepted, in characters."""

_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*+\Z")
_NAME: Final = re.compile(r"[a-z_][A-Za-z0-9_]*+\Z")
_REF: Final = re.compile(r"([a-z_][A-Za-z0-9_]*+)((?:\.[A-Za-z_][A-Za-z0-9_]*+|\[(?:0|[1-9][0-9]{0,8})\])*+)\Z")
_PATH_PART: Final = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*+)|\[([0-9]+)\]")
_INT: Final = re.compile(r"-?(?:0|[1-9][0-9]*+)\Z")
_FLOAT: Final = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?\Z")
_MONEY: Final = re.compile(r"(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?\Z")
_DURATION: Final = re.compile(r"((?:0|[1-9][0-9]*+)(?:\.([0-9]++))?)(ms|s|m|h)\Z")
_UNIT_NS: Final = {"ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000}

_ESCAPE: Final = re.compile(
    r"""\\(?:u([dD][89abAB][0-9A-Fa-f]{2})\\u([dD][c-fC-F][0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|(["\\/bfnrt])|.?)""",
    re.DOTALL,
)
_ESCAPED: Final = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_RAW_FORBIDDEN: Final = re.compile(r"[\x00-\x08\x0a-\x1f\ud800-\udfff]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_BRACES: Final = re.compile(r"\{\{|\}\}|\{([^{}]*+)\}|[{}]")
# Cc, Cs, line separators, and the format characters that hide or reorder what stands beside them.
_HIDDEN: Final = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


class TextError(ValueError):
    """A misspelled constant; `start` and `end` are offsets into the spelling."""

    def __init__(self, code: str, message: str, start: int = 0, end: int = 1, help: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.start, self.end, self.help = code, message, start, end, help


def is_hidden(char: str) -> bool:
    """True for control, bidirectional and zero-width characters and lone surrogates; a tab is none of these."""
    return _HIDDEN.match(char) is not None


def is_word(text: str) -> bool:
    """True if `text` can stand for a field, a parameter, a type or one part of a tool's name."""
    return _WORD.match(text) is not None


def is_name(text: str) -> bool:
    """True if `text` can name an input, a step or a plan: lower-case start, no keyword."""
    return text not in KEYWORDS and _NAME.match(text) is not None


def read_path(text: str) -> tuple[str, tuple[str | int, ...]]:
    """Split `page.lines[0]` into root and path; raise `TextError` E004 if it is no reference."""
    match = _REF.match(text)
    if match is None or match[1] in KEYWORDS:
        shown = text if len(text) <= 40 else text[:37] + "..."
        raise TextError("E004", f"`{shown}` is not a reference", 0, len(text), "write a name such as `a` or `a.text`")
    path = tuple(field or int(index) for field, index in _PATH_PART.findall(match[2])) if match[2] else ()
    return match[1], path


def read_number(text: str) -> int | float:
    """Read an integer or float; raise `TextError` E003 for anything else, including numbers too large to hold."""
    if len(text) > MAX_DIGITS and len(text.removeprefix("-")) > MAX_DIGITS:
        raise TextError("E003", f"number of more than {MAX_DIGITS:,} digits", 0, len(text))
    if _INT.match(text):
        return int(text)
    if not _FLOAT.match(text):
        raise TextError("E003", f"`{_short(text)}` is not a number", 0, len(text), _number_help(text))
    value = float(text)
    if not math.isfinite(value):
        raise TextError("E003", f"`{_short(text)}` is larger than a float can hold", 0, len(text))
    return value + 0.0  # one zero: -0.0 and 0.0 compare equal, so they must not be told apart


def format_number(value: int | float) -> str:
    """The shortest spelling that reads back as the same int or float."""
    return str(value) if isinstance(value, int) else repr(value + 0.0)


def read_money(text: str) -> Usd:
    """Read `0.02` (no dollar sign); raise `TextError` E003 if malformed, negative or finer than one nano-USD."""
    if len(text) > MAX_AMOUNT or not _MONEY.match(text):
        raise TextError("E003", f"`${_short(text)}` is not an amount", 0, len(text) + 1, "write it like $0.02")
    if len(text.partition(".")[2]) > 9:
        raise TextError("E003", f"`${text}` is finer than one nano-USD", 0, len(text) + 1, "at most 9 decimals")
    return Usd(parse_usd(text))


def read_duration(text: str) -> Duration:
    """Read `300ms`, `2.5s`, `1m` or `1h`; raise `TextError` E003 if malformed or finer than one nanosecond."""
    match = _DURATION.match(text) if len(text) <= MAX_AMOUNT else None
    if match is None:
        raise TextError(
            "E003", f"`{_short(text)}` is not a duration", 0, len(text), "write it like 300ms, 2.5s, 1m or 1h"
        )
    decimals = 6 if match[3] == "ms" else 9
    if match[2] and len(match[2]) > decimals:
        raise TextError(
            "E003",
            f"`{text}` is finer than one nanosecond",
            0,
            len(text),
            f"at most {decimals} decimals for {match[3]}",
        )
    with localcontext() as context:
        context.prec = 60
        return Duration(int(Decimal(match[1]) * _UNIT_NS[match[3]]))


def format_duration(duration: Duration) -> str:
    """The canonical spelling: whole hours, minutes or seconds if it is that many, else decimal seconds or ms."""
    ns = duration.ns
    if ns and ns % _UNIT_NS["s"] == 0:
        unit = next(u for u in ("h", "m", "s") if ns % _UNIT_NS[u] == 0)
        return f"{ns // _UNIT_NS[unit]}{unit}"
    unit = "s" if ns >= _UNIT_NS["s"] or ns == 0 else "ms"
    digits = len(str(_UNIT_NS[unit])) - 1
    whole, rest = divmod(ns, _UNIT_NS[unit])
    decimals = f"{rest:0{digits}d}".rstrip("0")
    return f"{whole}.{decimals}{unit}" if decimals else f"{whole}{unit}"


def format_amount(amount: Usd) -> str:
    """The canonical spelling of an amount with its dollar sign."""
    return f"${format_usd(Money(amount.nano))}"


def read_string(raw: str) -> str:
    """Return what a quoted string means; `raw` includes the opening quote and, if closed, the other one."""
    if len(raw) < 2 or not raw.endswith('"') or (raw.endswith('\\"') and _ends_escaped(raw)):
        raise TextError("E002", "text without a closing quote", 0, len(raw), 'close it with `"` on the same line')
    body = raw[1:-1]
    if "\\" not in body and body.isprintable():
        return body
    return _unescape(body, 1)


def format_string(text: str) -> str:
    """Quote `text`; control, invisible and separator characters are escaped so that they can be seen."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return f'"{_escape(text)}"'


def read_template(raw: str, make_ref: Callable[[str, tuple[str | int, ...], int, int], Ref]) -> Template:
    """Return what `t"..."` means; `make_ref` gets root, path and the offsets of each placeholder."""
    if len(raw) < 3 or not raw.endswith('"') or (raw.endswith('\\"') and _ends_escaped(raw)):
        raise TextError("E002", "template without a closing quote", 0, len(raw), 'close it with `"` on the same line')
    return _template(raw[2:-1], 2, _unescape, make_ref)


def read_template_body(body: str) -> Template:
    """Return what the JSON form of a template means: no quotes or escapes, only `{ref}`, `{{` and `}}`."""
    if found := _SURROGATE.search(body):
        raise TextError("E008", "lone surrogate", found.start(), found.end())
    return _template(body, 0, lambda text, _: text, lambda root, path, _, __: Ref(root, path))


def format_template(template: Template, *, quoted: bool, spell: Callable[[Ref], str] = str) -> str:
    """Write a template: quoted and escaped for the text form, bare for the JSON form; `spell` writes references."""
    parts = []
    for part in template.parts:
        if isinstance(part, Ref):
            parts.append(f"{{{spell(part)}}}")
        else:
            text = part.replace("{", "{{").replace("}", "}}")
            parts.append(_escape(text) if quoted else text)
    body = "".join(parts)
    return f't"{body}"' if quoted else body


def _template(
    body: str,
    offset: int,
    unescape: Callable[[str, int], str],
    make_ref: Callable[[str, tuple[str | int, ...], int, int], Ref],
) -> Template:
    parts: list[str | Ref] = []
    texts: list[str] = []
    at = 0
    for match in _BRACES.finditer(body):
        texts.append(unescape(body[at : match.start()], offset + at))
        at = match.end()
        if match[1] is None:
            if len(match[0]) == 1:
                brace = match[0]
                raise TextError(
                    "E008",
                    f"`{brace}` without its partner",
                    offset + match.start(),
                    offset + at,
                    f"write `{brace * 2}` for a brace, `{{name}}` for a value",
                )
            texts.append(match[0][0])
            continue
        ref = _placeholder(match[1], offset + match.start() + 1, make_ref)
        if text := "".join(texts):
            parts.append(text)
        parts.append(ref)
        texts.clear()
    if text := "".join([*texts, unescape(body[at:], offset + at)]):
        parts.append(text)
    return Template(tuple(parts))


def _placeholder(inner: str, start: int, make_ref: Callable[[str, tuple[str | int, ...], int, int], Ref]) -> Ref:
    text = inner.strip(" \t")
    try:
        root, path = read_path(text)
    except TextError:
        message = f"`{{{_short(inner)}}}` is not a reference"
        hint = "a placeholder holds a value such as {a} or {a.text}; write {{ and }} for braces"
        raise TextError("E008", message, start - 1, start + len(inner) + 1, hint) from None
    return make_ref(root, path, start, start + len(inner))


def _unescape(body: str, offset: int) -> str:
    if found := _RAW_FORBIDDEN.search(body):
        place = offset + found.start()
        if found[0] >= "\ud800":
            raise TextError("E008", f"lone surrogate U+{ord(found[0]):04X} in text", place, place + 1)
        escape = json.dumps(found[0])[1:-1]
        raise TextError("E001", f"control character U+{ord(found[0]):04X} in text", place, place + 1, f"write {escape}")
    return _ESCAPE.sub(lambda m: _unescape_one(m, offset), body) if "\\" in body else body


def _unescape_one(match: re.Match[str], offset: int) -> str:
    high, low, code, letter = match.groups()
    if letter:
        return _ESCAPED[letter]
    if high:
        return chr(0x10000 + ((int(high, 16) & 0x3FF) << 10) + (int(low, 16) & 0x3FF))
    start = offset + match.start()
    if code is None:
        known = r"the escapes are \n \r \t \b \f \" \\ \/ and \uXXXX"
        raise TextError("E008", f"`{match[0]}` is not an escape", start, start + len(match[0]), known)
    if 0xD800 <= int(code, 16) <= 0xDFFF:
        hint = "write both halves, or the character itself"
        raise TextError("E008", f"`{match[0]}` is half of a surrogate pair", start, start + 6, hint)
    return chr(int(code, 16))


def _escape(text: str) -> str:
    escaped = json.dumps(text, ensure_ascii=False)[1:-1]
    return escaped if escaped.isprintable() else "".join(c if c.isprintable() else _u_escape(c) for c in escaped)


def _u_escape(char: str) -> str:
    return json.dumps(char)[1:-1]


def _ends_escaped(raw: str) -> bool:
    body = raw[:-1]
    return (len(body) - len(body.rstrip("\\"))) % 2 == 1


def _number_help(text: str) -> str | None:
    digits = text.removeprefix("-")
    if re.match(r"0[0-9]", digits):
        return "numbers have no leading zeros"
    if re.search(r"[A-Za-z_]", digits.replace("e", "").replace("E", "")):
        return "durations end in ms, s, m or h; names cannot start with a digit"
    if "_" in text:
        return "write the digits without separators"
    return None


def _short(text: str) -> str:
    return text if len(text) <= 24 else text[:21] + "..."
