"""What the parts of the API share: the store, the feed, who acts, and what the server was started with."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection

from catp.approvals import user
from catp.dashboard.actions import AgentFor
from catp.dashboard.engine.follower import Follower
from catp.dashboard.feed import Feed
from catp.dashboard.read.declared import Declared
from catp.store import deeds
from catp.store.errors import StoreError
from catp.store.store import RunStore

if TYPE_CHECKING:
    from starlette.requests import Request

    from catp.dashboard.planning import PlanDesk

__all__ = ["Context"]

T = TypeVar("T")

_log = logging.getLogger("catp.dashboard.audit")


@dataclass(frozen=True)
class Context:
    """One server. `missing` raises a `Problem` if the store is not there; `training` is the folder of training runs.

    `declared` is what the server's catalogue says of tools; it is made once, when it is first asked for.
    `desk` plans and starts runs; whoever only looks never loads it.
    `engine` looks at the inference engine; `server` is what the server was started with, as the settings show it.
    """

    store: RunStore
    feed: Feed
    agent_for: AgentFor
    read_only: bool
    missing: Callable[[], None]
    declared: Declared
    desk: "Callable[[], PlanDesk]"
    training: Path | None = None
    engine: Follower = field(default_factory=Follower)
    server: Mapping[str, Any] = field(default_factory=dict)

    def read(self, question: Callable[[Connection], T]) -> T:
        """Ask the store."""
        return self.store.database.read(question)

    def who(self, request: "Request") -> str:
        """Who acts. Tokens name no people: who started the server, and which role was used."""
        return f"{user()} (dashboard {request.scope['catp_role']})"

    def audit(self, request: "Request", action: str, target: str, **detail: Any) -> None:
        """Note what was changed, through whom: after it was changed. Waits for the store, so call it in a thread.

        If the store cannot be written just then, the deed goes to the log: what was done stays done.
        """
        actor = self.who(request)

        def write(connection: Connection) -> None:
            deeds.note(connection, actor=actor, action=action, target=target, detail=detail, now_ns=time.time_ns())

        try:
            self.store.database.write(write)
        except StoreError as error:
            _log.error("%s: %s %s %s, not kept in the store: %s", actor, action, target, detail, error)
