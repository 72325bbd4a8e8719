"""Objects, lists, rows and texts of a JSON form: misfits are reported with a JSON pointer, then reading goes on."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from catp.planlang.errors import Diagnostic, nearest
from catp.planlang.scalars import MAX_DIGITS, TextError

__all__ = ["MAX_PROBLEMS", "TOO_LARGE", "NumberError", "Object", "Path", "ShapeReader", "TooManyProblems", "describe"]

MAX_PROBLEMS: Final = 50
"""How many problems are listed before reading stops."""

TOO_LARGE: Final = 10**MAX_DIGITS
"""The least whole number that no plan can hold."""

T = TypeVar("T")
Path = tuple[str | int, ...]


class Object(dict[str, Any]):
    """A JSON object that remembers which keys stood in it twice."""

    def __init__(self, pairs: Iterable[tuple[str, Any]]) -> None:
        listed = list(pairs)
        super().__init__(listed)
        counts = {} if len(self) == len(listed) else Counter(key for key, _ in listed)
        self.twice = [key for key, count in counts.items() if count > 1]


class NumberError:
    """Stands where JSON text had a number that no plan can hold, such as NaN or one of 5,000 digits."""

    def __init__(self, text: str) -> None:
        self.text = text


class TooManyProblems(Exception):
    """Raised when enough problems were found."""


class ShapeReader:
    """Reads members, elements and texts out of a JSON form; what is wrong with them is in `problems`."""

    def __init__(self) -> None:
        self.problems: list[Diagnostic] = []

    def _bad(self, path: Path, message: str, help_: str | None = None, code: str = "E009") -> None:
        pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
        self.problems.append(Diagnostic(code, message, None, help_, path=pointer.encode("utf-8", "replace").decode()))
        if len(self.problems) >= MAX_PROBLEMS:
            raise TooManyProblems

    def _fields(self, form: object, path: Path, required: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, Any]:
        """Return the members of an object; unknown, missing and repeated ones are reported, null ones left out."""
        if not isinstance(form, dict):
            self._bad(path, f"expected an object, found {describe(form)}")
            return {}
        known = (*required, *optional)
        for key in form:
            if key not in known:
                shown = key[:40] if isinstance(key, str) else repr(key)[:40]
                hint = nearest(shown, known) or f"the members are {', '.join(known)}"
                self._bad(path, f"unknown member {shown!r}", hint)
        self._repeated(form, path)
        for key in required:
            if key not in form:
                self._bad(path, f"member {key!r} is missing")
        return {k: v for k, v in form.items() if k in known and (v is not None or k in ("default", "value", *required))}

    def _repeated(self, form: dict[Any, Any], path: Path) -> None:
        for key in form.twice if isinstance(form, Object) else ():
            self._bad((*path, key), f"member {key[:40]!r} stands twice", "keep one of them")

    def _each(self, form: object, path: Path, read: Callable[[Any, Path], T | None]) -> tuple[T, ...]:
        """Read a list; elements that are wrong are reported and left out."""
        if not isinstance(form, list):
            self._bad(path, f"expected a list, found {describe(form)}")
            return ()
        found = (read(item, (*path, position)) for position, item in enumerate(form))
        return tuple(item for item in found if item is not None)

    def _row(self, form: object, path: Path, columns: str, count: int) -> list[Any] | None:
        if isinstance(form, list) and len(form) == count:
            return form
        self._bad(path, f"expected {columns}, found {describe(form)}")
        return None

    def _text(self, form: object, path: Path, what: str, valid: Callable[[str], bool] | None = None) -> str:
        """Return a text; without `valid` any text that UTF-8 can hold."""
        if type(form) is not str:
            self._bad(path, f"expected {what}, found {describe(form)}")
            return ""
        if valid is None:
            if _has_surrogate(form):
                self._bad(path, "text with a lone surrogate", "write both halves of the pair")
                return ""
        elif not valid(form):
            self._bad(path, f"{form[:40]!r} cannot be {what}")
            return ""
        return form

    def _flag(self, form: object, path: Path) -> bool:
        if type(form) is not bool:
            self._bad(path, f"expected true or false, found {describe(form)}")
        return form is True

    def _spelled(self, form: object, path: Path, what: str, read: Callable[[str], T]) -> T | None:
        """Read a constant that JSON holds as text."""
        if type(form) is not str:
            self._bad(path, f"expected {what}, found {describe(form)}")
            return None
        try:
            return read(form)
        except TextError as error:
            self._bad(path, error.message, error.help)
            return None


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def describe(form: object) -> str:
    """Return in a few words what stands in a form, for messages."""
    match form:
        case None:
            return "null"
        case NumberError():
            return form.text
        case bool():
            return "true" if form else "false"
        case str():
            return f"text {form[:40]!r}"
        case int() if abs(form) >= TOO_LARGE:
            return f"a number of more than {MAX_DIGITS:,} digits"
        case int() | float():
            return str(form)[:24]
        case list():
            return f"a list of {len(form)}"
        case dict():
            return f"an object with {', '.join(repr(key)[:20] for key in list(form)[:3]) or 'no members'}"
        case _:
            return f"a Python {type(form).__name__}"
