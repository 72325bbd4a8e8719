"""Who may do what: roles, tokens, and a session cookie that needs no memory on the server.

token ──> role: viewer < operator < admin         `Authorization: Bearer`, or `?token=` once for a cookie
cookie = ROLE.EXPIRES.HMAC(token, ROLE.EXPIRES)   so a session outlives a restart, and ends with its token
"""

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, get_args

__all__ = ["COOKIE", "Access", "Role", "allows"]

Role: TypeAlias = Literal["viewer", "operator", "admin"]

COOKIE: Final = "catp_session"
_VALID_S: Final = 7 * 24 * 3600
_RANK: Final = {role: rank for rank, role in enumerate(get_args(Role))}


def allows(role: Role, needed: Role) -> bool:
    """True if `role` may do what `needed` may."""
    return _RANK[role] >= _RANK[needed]


@dataclass(frozen=True)
class Access:
    """The tokens there are, by what they allow; with none, everybody on this machine is admin."""

    tokens: Mapping[str, Role] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for token, role in self.tokens.items():
            if len(token) < 8 or not token.isascii():
                raise ValueError("a token must have 8 or more ASCII characters")
            if role not in _RANK:
                raise ValueError(f"there is no role {role!r}; roles are {', '.join(_RANK)}")

    def of_token(self, given: str) -> tuple[str, Role] | None:
        """Return the token and its role; looks at all of them, so that time tells nothing."""
        found = None
        for token, role in self.tokens.items():
            if hmac.compare_digest(token.encode(), given.encode("utf-8", "replace")):
                found = token, role
        return found

    def session(self, token: str, role: Role, now_s: float | None = None) -> str:
        """Return the value of a cookie for a token."""
        said = f"{role}.{int((time.time() if now_s is None else now_s) + _VALID_S)}"
        return f"{said}.{_sign(token, said)}"

    def of_session(self, cookie: str, now_s: float | None = None) -> Role | None:
        """Return the role of a cookie, None if it was not made for a token of today or is out of date."""
        said, _, signature = cookie.rpartition(".")
        role, _, until = said.partition(".")
        if not (until.isascii() and until.isdigit()) or len(until) > 12:
            return None
        if int(until) < (time.time() if now_s is None else now_s):
            return None
        for token, known in self.tokens.items():
            if known == role and hmac.compare_digest(_sign(token, said).encode(), signature.encode("utf-8", "replace")):
                return known
        return None


def _sign(token: str, said: str) -> str:
    return hmac.new(token.encode(), f"catp-dashboard {said}".encode(), hashlib.sha256).hexdigest()
