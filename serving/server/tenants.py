"""Who may ask, and how much: tenants and their limits.

Limits of a minute are token buckets that hold a minute's worth. A request waits for nothing: it is refused, with the
seconds after which it would be let in. Tokens are paid when they are known, so a bucket can go below zero; nobody is
let in until it is above.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from catp.serving.server.problems import HttpProblem

__all__ = ["Tenant", "Tenants", "Visit"]


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant. `digests` are SHA-256 of its keys; limits are None where there is none."""

    name: str
    digests: tuple[bytes, ...] = ()
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    concurrent: int | None = None
    priority: int = 0
    admin: bool = False


class _Bucket:
    """A token bucket of a minute's worth, full at first."""

    def __init__(self, per_minute: float, now: float) -> None:
        self._capacity, self._rate, self._level, self._at = per_minute, per_minute / 60.0, per_minute, now

    def wait(self, amount: float, now: float) -> float:
        """Return the seconds until `amount` is there; 0: now."""
        self._level = min(self._capacity, self._level + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, (min(amount, self._capacity) - self._level) / self._rate)

    def pay(self, amount: float) -> None:
        """Take out so much, below zero if need be."""
        self._level -= amount


class _State:
    def __init__(self, tenant: Tenant, now: float) -> None:
        self.tenant, self.running = tenant, 0
        per, tokens = tenant.requests_per_minute, tenant.tokens_per_minute
        self.requests = None if per is None else _Bucket(per, now)
        self.tokens = None if tokens is None else _Bucket(tokens, now)


class Visit:
    """One request of a tenant while it runs; a context manager that gives its place back."""

    def __init__(self, state: _State) -> None:
        self._state = state

    @property
    def tenant(self) -> Tenant:
        """Whose request it is."""
        return self._state.tenant

    def pay(self, tokens: int) -> None:
        """Count tokens against the tenant's limit."""
        if self._state.tokens is not None:
            self._state.tokens.pay(tokens)

    def __enter__(self) -> "Visit":
        self._state.running += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._state.running -= 1


class Tenants:
    """All tenants. Without any key everybody is the tenant `default`.

    Args:
        tenants: with their keys.
        clock: seconds, never running backwards.
        trusting: whether `default` is an admin: right where only this machine can ask.
    """

    def __init__(self, tenants: Sequence[Tenant], clock: Callable[[], float], *, trusting: bool = True) -> None:
        self._clock = clock
        self._open = not any(tenant.digests for tenant in tenants)
        members = tenants if not self._open else (*tenants, Tenant("default", admin=trusting))
        self._states = {tenant.name: _State(tenant, clock()) for tenant in members}

    @property
    def open(self) -> bool:
        """Whether no key is needed."""
        return self._open

    def known(self, authorization: str | None) -> Tenant:
        """Return who sent an Authorization header.

        Raises:
            HttpProblem: 401.
        """
        if self._open:
            return self._states["default"].tenant
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise HttpProblem(401, "missing_api_key", "send an API key: `Authorization: Bearer KEY`")
        digest = hashlib.sha256(key.strip().encode("utf-8", "surrogateescape")).digest()
        found = None
        for state in self._states.values():  # all are compared, so that time tells nothing
            for mine in state.tenant.digests:
                if hmac.compare_digest(mine, digest):
                    found = state.tenant
        if found is None:
            raise HttpProblem(401, "invalid_api_key", "the API key is not known here")
        return found

    def check(self, tenant: Tenant) -> None:
        """Refuse a tenant that is over its limits, without counting anything.

        Raises:
            HttpProblem: 429, with the seconds to wait.
        """
        state, now = self._states[tenant.name], self._clock()
        if tenant.concurrent is not None and state.running >= tenant.concurrent:
            raise _limited(tenant, f"{tenant.concurrent} requests at a time", 1.0)
        if state.tokens is not None and (wait := state.tokens.wait(1.0, now)) > 0:
            raise _limited(tenant, f"{tenant.tokens_per_minute:g} tokens a minute", wait)
        if state.requests is not None and (wait := state.requests.wait(1.0, now)) > 0:
            raise _limited(tenant, f"{tenant.requests_per_minute:g} requests a minute", wait)

    def admit(self, tenant: Tenant) -> Visit:
        """Let a tenant's request in and count it; raise as `check`."""
        self.check(tenant)
        state = self._states[tenant.name]
        if state.requests is not None:
            state.requests.pay(1.0)
        return Visit(state)


def _limited(tenant: Tenant, limit: str, wait: float) -> HttpProblem:
    message = f"tenant `{tenant.name}` may make {limit}; try again in {wait:.1f} s"
    return HttpProblem(429, "rate_limited", message, retry_after=wait)
