"""Errors as OpenAI's clients understand them: `{"error": {"message", "type", "param", "code"}}` and a status.

400 the request is wrong     401 no or wrong key     403 not allowed     404 no such thing     408 body too slow
409 in use     413 body too large     422 no plan     429 this tenant, with Retry-After     503 this server, now
"""

import math
from typing import Any

from catp.planners.protocol import NothingFits, PlanningFailed
from catp.planners.writer import Unwritable
from catp.serving.engine.errors import Refused
from catp.serving.server.events import Finished

__all__ = ["HttpProblem", "of_end", "of_refusal"]

_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    408: "invalid_request_error", 409: "invalid_request_error", 413: "invalid_request_error",
    405: "invalid_request_error", 415: "invalid_request_error", 422: "invalid_request_error",
    429: "rate_limit_error", 503: "service_unavailable",
}  # fmt: skip

_ENDS = {
    "timeout": 503, "shutdown": 503, "engine_failed": 503, "cancelled": 503, "slow_reader": 503, "disconnected": 503,
    "deadline": 503, "request_failed": 500, "nothing_fits": 422, "planning_failed": 422, "unwritable": 422,
}  # fmt: skip


class HttpProblem(Exception):
    """An answer that is an error.

    Args:
        status: of HTTP.
        code: machine-readable.
        message: names the thing, the place and the fix.
        param: the parameter that is wrong.
        retry_after: seconds after which it may work; None: not said.
    """

    def __init__(
        self, status: int, code: str, message: str, *, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param, self.retry_after = status, code, param, retry_after

    def body(self) -> dict[str, Any]:
        """Return the JSON body."""
        kind = _TYPES.get(self.status, "server_error")
        error: dict[str, Any] = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        if self.retry_after is not None:
            error["retry_after"] = round(self.retry_after, 3)
        return {"error": error}

    def headers(self) -> dict[str, str]:
        """Return the headers; Retry-After is in whole seconds, rounded up."""
        found = {} if self.retry_after is None else {"Retry-After": str(max(1, math.ceil(self.retry_after)))}
        if self.status == 401:
            found["WWW-Authenticate"] = "Bearer"
        if self.status in (408, 413):  # the rest of the body is not read
            found["Connection"] = "close"
        return found


def of_refusal(error: Exception) -> HttpProblem:
    """Return the answer to a request that was not accepted."""
    if isinstance(error, Refused):
        param = {"unknown_model": "model", "unknown_adapter": "model", "bad_grammar": "response_format"}.get(
            error.reason
        )
        after = error.retry_after
        if after is None and error.status in (429, 503):
            after = 1.0
        return HttpProblem(error.status, error.reason, str(error), param=param, retry_after=after)
    if isinstance(error, NothingFits):
        return HttpProblem(422, "nothing_fits", str(error), param=f"objective.{error.limit}")
    if isinstance(error, Unwritable):
        return HttpProblem(422, "unwritable", str(error))
    if isinstance(error, PlanningFailed):
        return HttpProblem(422, "planning_failed", str(error))
    raise error


def of_end(end: Finished) -> HttpProblem:
    """Return the answer to an accepted request that did not end as it should."""
    code = end.code or ("request_failed" if end.reason == "failed" else end.reason)
    status = _ENDS.get(code, 500)
    return HttpProblem(status, code, end.message or f"the request ended: {code}",
                       retry_after=1.0 if status == 503 else None)  # fmt: skip
