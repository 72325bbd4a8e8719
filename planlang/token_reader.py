"""Walking over tokens in readable spelling: what both token forms share when they are read."""

from collections.abc import Sequence
from typing import Final, NoReturn

from catp.planlang.errors import Diagnostic, PlanError
from catp.planlang.nodes import OPERATORS, Operator

__all__ = ["TokenReader", "refuse"]

_OPERATORS: Final[dict[str, Operator]] = {f"<{op}>": op for op in OPERATORS}


def refuse(place: str, message: str, fix: str | None = None) -> NoReturn:
    """Raise the `PlanError` (E010) of both token forms."""
    raise PlanError([Diagnostic("E010", message, path=place, help=fix)])


class TokenReader:
    """Reads one plan; `at` is the position of the next token."""

    def __init__(self, spelled: Sequence[str]) -> None:
        self.spelled = spelled
        self.at = 0

    def peek(self) -> str:
        """The next token, or an empty text at the end."""
        return self.spelled[self.at] if self.at < len(self.spelled) else ""

    def skip(self, token: str) -> bool:
        """Step over `token` if it is the next one."""
        if self.peek() != token:
            return False
        self.at += 1
        return True

    def expect(self, token: str) -> None:
        """Step over `token`, which must be the next one."""
        if not self.skip(token):
            self.fail(f"`{token}`")

    def operator(self) -> Operator:
        """Read a comparison."""
        operator = _OPERATORS.get(self.peek())
        if operator is None:
            self.fail("an operator")
        self.at += 1
        return operator

    def end(self) -> None:
        """Refuse anything after the plan."""
        self.expect("</plan>")
        if self.at != len(self.spelled):
            self.fail("the end of the plan")

    def fail(self, what: str, back: int = 0) -> NoReturn:
        """Refuse the next token, or the one `back` before it."""
        at = self.at - back
        found = f"`{self.spelled[at][:60]}`" if at < len(self.spelled) else "the end"
        refuse(f"token {at}", f"expected {what}, found {found}")
