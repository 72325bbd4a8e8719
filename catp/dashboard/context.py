"""What the parts of the API share: the store, the feed, who acts, and what the server was started with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection

from catp.approvals import user
from catp.dashboard.actions import AgentFor
from catp.dashboard.feed import Feed
from catp.store.store import RunStore

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["Context"]

T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """One server. `missing` raises a `Problem` if the store is not there; `training` is the folder of training runs."""

    store: RunStore
    feed: Feed
    agent_for: AgentFor
    read_only: bool
    missing: Callable[[], None]
    training: Path | None = None

    def read(self, question: Callable[[Connection], T]) -> T:
        """Ask the store."""
        return self.store.database.read(question)

    def who(self, request: "Request") -> str:
        """Who acts. Tokens name no people: who started the server, and which role was used."""
        return f"{user()} (dashboard {request.scope['catp_role']})"
