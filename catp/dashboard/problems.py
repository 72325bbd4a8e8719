"""Errors as RFC 9457 has them: `application/problem+json` with type, title, status, detail."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from catp.store.errors import RunOwned, StoreConflict, StoreError, StoreUnavailable

__all__ = ["MEDIA_TYPE", "Problem", "of_error", "of_query"]

MEDIA_TYPE = "application/problem+json"
_SHORT = 60
"""Characters up to which a refused value is repeated."""
_LEAVES = (str, int, float)
_SAID = {
    "missing": "{} is missing", "extra_forbidden": "{}: no such field", "json_invalid": "the body is not JSON",
}  # fmt: skip


class Problem(Exception):
    """An answer that is an error.

    Args:
        status: of HTTP.
        code: names the kind of problem; becomes `type` (`urn:catp:problem:CODE`).
        detail: names the thing, the place and the fix.
        retry_after: seconds after which it may work.
    """

    def __init__(self, status: int, code: str, detail: str, *, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.status, self.code, self.retry_after = status, code, retry_after

    def body(self) -> dict[str, Any]:
        """Return the JSON body."""
        return {
            "type": f"urn:catp:problem:{self.code}", "title": HTTPStatus(self.status).phrase, "status": self.status,
            "detail": str(self),
        }  # fmt: skip

    def headers(self) -> dict[str, str]:
        """Return the headers that belong to it."""
        found = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == 401:
            found["WWW-Authenticate"] = "Bearer"
        return found


def of_error(error: Exception) -> Problem:
    """Return what an error of the store is over HTTP."""
    if isinstance(error, RunOwned | StoreConflict):
        return Problem(409, "conflict", str(error))
    if isinstance(error, StoreUnavailable):
        return Problem(503, "store-unavailable", str(error), retry_after=2)
    if isinstance(error, StoreError):
        return Problem(503, "store-unreadable", str(error))
    return Problem(500, "internal", "the dashboard failed; its log says why")


def of_query(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """Return what is wrong with the fields of a request, as pydantic lists it, in words for whoever filled them in."""
    return Problem(422, "query", "; ".join(map(_field, errors)))


def _field(error: Mapping[str, Any]) -> str:
    """`limit should be less than or equal to 500, not '501'`."""
    name = ".".join(map(str, error["loc"][1:])) or "the body"
    if error["type"] in _SAID:
        return _SAID[error["type"]].format(name)
    said = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    if not said.startswith("should"):
        return f"{name}: {said}"
    given = error.get("input")
    return f"{name} {said}" + (f", not {given!r}" if isinstance(given, _LEAVES) and len(str(given)) <= _SHORT else "")
