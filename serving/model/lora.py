"""Many LoRA adapters over one base, in one batch: which are loaded, and what they add to a step.

Tokens are grouped by adapter, and each group goes through one pair of products per linear layer (S-LoRA, Sheng et al.
2023, arXiv 2311.03285); tokens of the base alone are in no group and cost nothing.

An adapter's identity is the digest of its content. A name points to a digest: loading other content under a name moves
the name, and requests that run keep what they began with. A digest without a name goes with its last request; one with
a name that nobody uses may leave the memory, least recently used first, and is read again when it is asked for.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from catp.serving.engine.errors import EngineFailed, Refused
from catp.serving.model.llama import Part
from catp.serving.model.loraweights import Adapter, Rows, read_adapter
from catp.serving.model.weights import Weights

__all__ = ["AdapterStore", "Loaded", "StepAdapters", "with_rows"]


@dataclass
class _Entry:
    """One content: where it came from, its tensors while they are in memory, and how many requests use it."""

    folder: Path
    bytes: int
    adapter: Adapter | None
    users: int = 0


@dataclass(frozen=True, slots=True)
class Loaded:
    """A name, the digest it points to, the folder that was read, and how many requests use the content."""

    name: str
    digest: str
    folder: Path
    users: int


class AdapterStore:
    """The adapters of one base; safe to use from many threads.

    Args:
        weights: of the base.
        plan_ids: tokens of the plan rows.
        limit_bytes: most memory that adapters may take.
        base_sha256: of the base's weights, to tell adapters of other bases; None: only shapes are compared.
    """

    def __init__(
        self, weights: Weights, *, plan_ids: Sequence[int] = (), limit_bytes: int = 1 << 30,
        base_sha256: str | None = None,
    ) -> None:  # fmt: skip
        self._weights, self._plan_ids, self._base = weights, tuple(plan_ids), base_sha256
        self.limit_bytes = limit_bytes
        self._names: dict[str, str] = {}
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # least recently used first
        self._lock = threading.Lock()

    def load(self, name: str, folder: Path) -> str:
        """Read a folder, point a name to it and return its digest.

        Raises:
            Refused: it is no adapter of this base (`bad_request`), or there is no room: never (`too_large`), or not
                now, because requests use the others (`queue_full`).
        """
        adapter = self._read(folder)
        with self._lock:
            entry = self._entries.get(adapter.digest)
            if entry is None or entry.adapter is None:
                self._make_room(folder, adapter.bytes, adapter.digest)
                entry = self._entries.setdefault(adapter.digest, _Entry(folder, adapter.bytes, None))
                entry.adapter = adapter
            entry.folder = folder
            self._entries.move_to_end(adapter.digest)
            old, self._names[name] = self._names.get(name), adapter.digest
            self._drop_if_unused(old)
        return adapter.digest

    def unload(self, name: str) -> None:
        """Forget a name.

        Raises:
            Refused: `unknown_adapter`.
        """
        with self._lock:
            if name not in self._names:
                raise Refused("unknown_adapter", f"there is no adapter {name!r}; {self._known()}")
            self._drop_if_unused(self._names.pop(name))

    def digest(self, name: str) -> str | None:
        """Return what a name means now, None if it means nothing."""
        return self._names.get(name)

    def loaded(self) -> tuple[Loaded, ...]:
        """Return everything that has a name, by name."""
        with self._lock:
            found = ((name, digest, self._entries[digest]) for name, digest in sorted(self._names.items()))
            return tuple(Loaded(name, digest, entry.folder, entry.users) for name, digest, entry in found)

    @property
    def bytes(self) -> int:
        """Memory taken."""
        return sum(entry.bytes for entry in tuple(self._entries.values()) if entry.adapter is not None)

    def use(self, digest: str) -> Callable[[], None]:
        """Keep a content in memory until the returned function is called (once; more calls do nothing).

        Reads the folder again if the content had to leave: milliseconds per megabyte.

        Raises:
            Refused: `unknown_adapter`: it is not loaded, or its folder has changed since; `queue_full`: no room now.
        """
        with self._lock:
            entry = self._entries.get(digest)
            if entry is None:
                raise Refused("unknown_adapter", f"the adapter {digest[:12]} is not loaded; {self._known()}")
            if entry.adapter is None:
                self._make_room(entry.folder, entry.bytes, digest)
                entry.adapter = self._again(digest, entry.folder)
            entry.users += 1
            self._entries.move_to_end(digest)
        held = True

        def release() -> None:
            nonlocal held
            with self._lock:
                if held:
                    held, entry.users = False, entry.users - 1
                    self._drop_if_unused(digest)

        return release

    def select(self, digests: Sequence[str | None], counts: Sequence[int]) -> "StepAdapters | None":
        """Return what a step's rows need, each of so many tokens; None if no row has an adapter.

        Raises:
            EngineFailed: one is not in memory: its request did not `use` it.
        """
        found = sorted({digest for digest in digests if digest is not None})
        if not found:
            return None
        adapters = []
        for digest in found:
            entry = self._entries.get(digest)
            if entry is None or entry.adapter is None:
                raise EngineFailed(
                    f"the adapter {digest[:12]} is not in memory: whoever submits a request must use() it"
                )
            adapters.append(entry.adapter)
        numbers = [-1 if digest is None else found.index(digest) for digest in digests]
        return StepAdapters(adapters, np.repeat(np.array(numbers), np.array(counts)), self._weights.device)

    def _read(self, folder: Path) -> Adapter:
        return read_adapter(folder, self._weights, plan_ids=self._plan_ids, base_sha256=self._base)

    def _again(self, digest: str, folder: Path) -> Adapter:
        try:
            adapter = self._read(folder)
        except Refused as error:
            raise Refused("unknown_adapter", f"{error} (it was loaded from there before); load it again") from error
        if adapter.digest != digest:
            raise Refused("unknown_adapter", f"the adapter {folder} has changed since it was loaded; load it again")
        return adapter

    def _make_room(self, folder: Path, wanted: int, digest: str) -> None:
        """Let idle adapters go, least recently used first, until there is room."""
        if wanted > self.limit_bytes:
            raise Refused(
                "too_large", f"the adapter {folder} takes {wanted} bytes, and adapters may take {self.limit_bytes}"
            )
        for key, entry in tuple(self._entries.items()):
            if self.bytes + wanted <= self.limit_bytes:
                return
            if entry.users == 0 and key != digest:
                entry.adapter = None
        if self.bytes + wanted > self.limit_bytes:
            raise Refused(
                "queue_full", f"no room for the adapter {folder}: requests use the ones in memory", retry_after=1.0
            )

    def _drop_if_unused(self, digest: str | None) -> None:
        entry = self._entries.get(digest) if digest is not None else None
        if digest is not None and entry is not None and entry.users == 0 and digest not in self._names.values():
            del self._entries[digest]

    def _known(self) -> str:
        return f"there is: {', '.join(sorted(self._names)) or 'none'}"


class StepAdapters:
    """Implements `llama.Adapters` for one step.

    Args:
        adapters: those of the step.
        owners: (N,) which of them each token of the pack has, -1: none.
        device: of the weights.
    """

    def __init__(self, adapters: Sequence[Adapter], owners: NDArray[np.int64], device: torch.device) -> None:
        self._adapters, self._owners, self._device = adapters, owners, device
        self._pack = self._grouped(owners)
        self._parts: dict[int, tuple[Tensor, list[tuple[Adapter, Tensor | slice]]]] = {}

    def embed(self, x: Tensor, ids: Tensor) -> None:
        """Replace the embeddings (N, hidden) of tokens that adapters have rows for."""
        for adapter, mine in self._pack:
            if adapter.embedding is not None:
                at = adapter.embedding.at[ids[mine]]
                x[mine] = torch.where((at >= 0)[:, None], adapter.embedding.rows[at.clamp(min=0)], x[mine])

    def linear(self, out: Tensor, x: Tensor, layer: int, part: Part, places: Tensor | None) -> None:
        """Add to a linear layer's output; see `llama.Adapters`."""
        for adapter, mine in self._groups(places):
            factor = adapter.factors.get((layer, part))
            if factor is None:
                continue
            low = x[mine] @ factor.a.T
            for first, last, begin, end, b in factor.pieces:
                if isinstance(mine, slice):
                    out[mine, first:last].addmm_(low[:, begin:end], b)
                else:
                    out[:, first:last].index_add_(0, mine, low[:, begin:end] @ b)

    def logits(self, out: Tensor, x: Tensor, places: Tensor, *, plan: bool) -> None:
        """Replace logits of tokens that adapters have rows for; see `llama.Adapters`."""
        for adapter, mine in self._groups(places):
            rows: Rows | None = adapter.plan if plan else adapter.head
            if rows is not None:
                found = out[mine]
                found[:, rows.ids] = x[mine] @ rows.rows.T
                out[mine] = found

    def _groups(self, places: Tensor | None) -> list[tuple[Adapter, Tensor | slice]]:
        """Group the tokens at some places; the places of a step are few tensors, each used many times."""
        if places is None:
            return self._pack
        if id(places) not in self._parts:  # the tensor is kept: its id is not used again
            self._parts[id(places)] = (places, self._grouped(self._owners[places.cpu().numpy()]))
        return self._parts[id(places)][1]

    def _grouped(self, owners: NDArray[np.int64]) -> list[tuple[Adapter, Tensor | slice]]:
        return [
            (adapter, _pick(np.flatnonzero(owners == number), self._device))
            for number, adapter in enumerate(self._adapters)
            if (owners == number).any()
        ]


def _pick(places: NDArray[np.int64], device: torch.device) -> Tensor | slice:
    """Return places as a slice if they are adjacent: views instead of copies."""
    first, last = int(places[0]), int(places[-1]) + 1
    return slice(first, last) if last - first == len(places) else torch.from_numpy(places).to(device)


def with_rows(weights: Weights, rows: int) -> Weights:
    """Return weights whose embedding and output layer have at least so many rows, for tokens that adapters bring.

    New rows are zero, so to the base alone such a token has logit 0: forbid it there (`Draw.allowed`).
    """
    missing = rows - len(weights.embedding)
    if missing <= 0:
        return weights

    def longer(tensor: Tensor) -> Tensor:
        return torch.cat((tensor, tensor.new_zeros(missing, tensor.shape[1])))

    embedding = longer(weights.embedding)
    head = embedding if weights.config.tied else longer(weights.head)
    return replace(weights, config=replace(weights.config, vocabulary=rows), embedding=embedding, head=head)
