"""Identical calls made once: a flight is what all calls with one key that are under way have in common.

       join ──> looking ──found──> each member takes the kept result
                   │ not found
                   v
                 open: members compete for slots and money; the first to get both leads, the others wait
                   │        leader fails, is stopped, is refused: the waiting compete again
                   v        leader has a result
                serving: each member takes it, it goes into the cache, and the flight is over

Whoever waits holds neither a slot nor money, so nobody can wait for somebody who waits for him. A call that queues for
a slot or for money does not lead yet, so it keeps nobody waiting who could start. Errors are not shared: after a
failure the next one calls for itself, after two failures two at once, then four, so that a tool that is down does not
make a thousand calls wait for one another. All of it runs in one event loop and needs no lock; only encoding and
decoding of large values happen elsewhere.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from catp.planlang.money import Money
from catp.runtime.codec import DecodeError, Encoded, encode
from catp.runtime.hooks import CacheEntry, CallCache
from catp.tools.sizes import size_of

__all__ = ["LARGE", "Flight", "Flights", "Member"]

LARGE = 1 << 18
"""Bytes, characters or pixels from which a value is hashed, encoded and decoded outside the event loop."""


class Member(Protocol):
    """A call, as its flight sees it."""

    over: bool
    flight: "Flight | None"

    @property
    def life_s(self) -> float:
        """How old a result may be for this call, in seconds."""
        ...

    @property
    def alone(self) -> bool:
        """True if it does not wait for others: a step that hedges wants the calls it asked for."""
        ...

    def compete(self) -> None:
        """Queue for a slot and money."""
        ...

    def wait(self, leader: Any) -> None:
        """An identical call leads; this one waits for its result."""
        ...

    def read(self, encoded: Encoded) -> Any:
        """Return the value; raise `DecodeError` if it cannot be read or is not what the tool promises."""
        ...

    def reuse(self, value: Any, price: Money | None) -> None:
        """End with a result that cost `price` when it was made."""
        ...


class Flights:
    """The flights of a cache; runs that share it share them, each event loop by itself."""

    def __init__(self, cache: CallCache) -> None:
        self.cache = cache
        self._tables: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Flight]] = WeakKeyDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    def join(self, member: Member, key: str) -> None:
        """Let a call take part in the flight of its key; it will be told to compete, or given a result."""
        table = self._tables.setdefault(asyncio.get_running_loop(), {})
        flight = table.get(key)
        if flight is None:
            flight = table[key] = Flight(key, self, table)
            flight.open(member)
        else:
            flight.join(member)

    async def known(self, key: str) -> bool:
        """True if a call of this key is under way, or its result is kept."""
        table = self._tables.get(asyncio.get_running_loop(), {})
        return key in table or await self.cache.get(key) is not None

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work of a flight; it belongs to no run, so that the end of one does not keep the others from a result."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait until results that are being written are kept."""
        loop = asyncio.get_running_loop()
        while mine := [task for task in self._tasks if task.get_loop() is loop]:
            await asyncio.wait(mine)


class Flight:
    """The calls with one key that are under way."""

    __slots__ = ("_at_once", "_busy", "_failures", "_flights", "_idle", "_leaders", "_members", "_table", "key")

    def __init__(self, key: str, flights: Flights, table: dict[str, "Flight"]) -> None:
        self.key = key
        self._leaders: dict[Member, None] = {}
        self._failures = 0
        self._at_once = 1
        self._members: dict[Member, None] = {}
        self._idle: dict[Member, None] = {}
        self._busy = False
        self._flights = flights
        self._table = table

    def open(self, first: Member) -> None:
        """Begin by looking whether there is a result."""
        self._work(self._look())
        self.join(first)

    def join(self, member: Member) -> None:
        """Take part."""
        member.flight = self
        self._members[member] = None
        if self.may_lead(member):
            member.compete()

    def may_lead(self, member: Member) -> bool:
        """Ask before calling; if the answer is no, the member waits and will be told."""
        if not self._busy and (len(self._leaders) < self._at_once or member.alone):
            return True
        self._idle[member] = None
        if self._leaders:
            member.wait(next(iter(self._leaders)))
        return False

    def lead(self, member: Member) -> None:
        """The member has its slot and its money, and calls."""
        if len(self._leaders) < self._at_once:
            self._leaders[member] = None
        else:
            self.leave(member)

    def leave(self, member: Member, *, failed: bool = False) -> None:
        """The member has ended without a result to share; `failed` if its call could not be made as it should."""
        if failed and member in self._leaders:
            self._failures += 1
            self._at_once = self._failures
        self._part(member)
        self._go_on()

    def landed(self, member: Member, value: Any, made: CacheEntry, life_s: float) -> None:
        """The leader has a result; `made` describes it but for the value, and it is kept for `life_s` seconds."""
        if member in self._leaders:
            for leader in list(self._leaders):
                self._part(leader)  # whoever else calls goes on by himself
            self._work(self._settle(value, made, life_s))

    def _part(self, member: Member) -> None:
        member.flight = None
        self._leaders.pop(member, None)
        self._members.pop(member, None)
        self._idle.pop(member, None)

    def _go_on(self) -> None:
        """Let those who wait compete if nobody is at work for them; end when nobody is left."""
        if not self._busy and len(self._leaders) < self._at_once:
            waiting, self._idle = list(self._idle), {}
            for member in waiting:
                if member.flight is self:
                    member.compete()
        if not self._busy and not self._members and self._table.get(self.key) is self:
            del self._table[self.key]

    def _dissolve(self) -> None:
        """Let every member call for itself."""
        for member in list(self._members):
            waiting = member in self._idle
            self._part(member)
            if waiting:
                member.compete()

    def _work(self, work: Coroutine[Any, Any, None]) -> None:
        self._busy = True
        self._flights.spawn(self._guarded(work))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Do work for all members; if it fails, none of them may be left waiting."""
        try:
            await work
        except Exception:
            self._dissolve()
            raise
        finally:
            self._busy = False
        self._go_on()

    async def _look(self) -> None:
        found = await self._flights.cache.get(self.key)
        if found is None:
            return
        try:
            served = await self._serve(found.entry, found.age_s)
        except DecodeError:
            await self._flights.cache.drop(self.key)
        else:
            self._flights.cache.used(self.key, served)

    async def _settle(self, value: Any, made: CacheEntry, life_s: float) -> None:
        encoded = await _encoded(value)
        entry = made._replace(encoded=encoded)
        try:
            if encoded.codec is None:
                raise DecodeError(f"a result of {made.tool} has no exact encoding")
            served = await self._serve(entry, 0.0)
            await self._flights.cache.put(self.key, entry, life_s)
            served += await self._serve(entry, 0.0)
        except DecodeError:
            self._dissolve()
        else:
            self._flights.cache.used(self.key, served)

    async def _serve(self, entry: CacheEntry, age_s: float) -> int:
        """Give the result to every member that takes one of its age; return to how many."""
        served = 0
        while member := next((m for m in self._members if age_s <= m.life_s), None):
            value = await _decoded(member, entry.encoded)
            if member.flight is self:
                self._part(member)
                try:
                    member.reuse(value, entry.price)
                except Exception:  # a defect; the call must not be lost by it
                    if not member.over:
                        member.compete()
                    raise
                served += 1
        return served


async def _encoded(value: Any) -> Encoded:
    try:
        size = size_of(value)
        large = size.units * size.count >= LARGE
    except Exception:  # an object that raises when it is looked at; encoding it copes
        large = False
    return await asyncio.to_thread(encode, value) if large else encode(value)


async def _decoded(member: Member, encoded: Encoded) -> Any:
    large = len(encoded.data) >= LARGE
    return await asyncio.to_thread(member.read, encoded) if large else member.read(encoded)
