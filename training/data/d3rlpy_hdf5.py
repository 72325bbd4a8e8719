"""Trajectories for d3rlpy: the plan-construction MDP as an HDF5 file that `ReplayBuffer.load` reads.

    write(Path("bench.h5"), records, alphas=(0.5, 0.8, 0.95))

    with open("bench.h5", "rb") as file:
        dataset = d3rlpy.dataset.ReplayBuffer.load(file, d3rlpy.dataset.InfiniteBuffer())

One episode per plan and alpha: outcomes are logged apart from the weight of quality, so every plan teaches at every
alpha. What the numbers mean is in `catp.training.data.mdp`; the file says it, too (attribute `catp`: actions, names of
features, alphas, records left out). d3rlpy has no action masks: the last A entries of an observation are the mask.
The layout is that of d3rlpy 2.x (`DATASET_VERSION` 2.1); episodes are written one by one, so memory does not grow.
"""

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from catp.training.data.files import replacing
from catp.training.data.mdp import Encoder, encode
from catp.training.data.mdp_source import toolset_for
from catp.training.data.toolset import Toolset
from catp.training.data.trajectory import Trajectory

__all__ = ["ALPHAS", "check_alphas", "write"]

ALPHAS: Final = (0.5, 0.8, 0.95)
"""Weights of quality that plans are labelled with if none are given."""

_VERSION: Final = "2.1"
_COLUMNS: Final = ("observations", "actions", "rewards", "terminated")


def write(
    path: Path,
    records: Iterable[Trajectory],
    *,
    alphas: Sequence[float] = ALPHAS,
    toolset: Toolset | None = None,
    price_scale: Decimal | None = None,
    tools: int = 24,
    slots: int = 12,
) -> int:
    """Write the file, whole or not at all, the same bytes for the same records; return how many episodes it has.

    Args:
        path: Where to.
        records: Trajectories, set by set; all are held in memory.
        alphas: Weights of quality in [0, 1].
        toolset: The tools, for the masks; else one that is known by its id or lies beside `path`.
        price_scale: In USD, for records that name none.
        tools, slots: Tool slots (K) and value slots (N) of the MDP.

    Raises:
        ValueError: No record can be told as decisions, an alpha is no share, or a record has no price scale.
        ImportError: h5py is missing (extra `train`).
    """
    check_alphas(alphas)
    known = list(records)
    found = toolset if toolset is not None else toolset_for(known, path)
    encoder, episodes = encode(known, found, price_scale=price_scale, tools=tools, slots=slots)
    with replacing(path) as file:
        h5 = _h5py().File(file, "w")
        with h5:
            h5.create_dataset("columns", data=list(_COLUMNS))
            count = 0
            for episode in episodes:
                for alpha in alphas:
                    observations, rewards = episode.at(alpha)
                    h5.create_dataset(f"observations_{count}", data=observations, compression="gzip", shuffle=True)
                    h5.create_dataset(f"actions_{count}", data=episode.actions[:, None])
                    h5.create_dataset(f"rewards_{count}", data=rewards[:, None])
                    h5.create_dataset(f"terminated_{count}", data=True)
                    count += 1
            if not count:
                reasons = ", ".join(f"{reason} ({n})" for reason, n in encoder.left_out.most_common()) or "no records"
                raise ValueError(f"nothing to write to {path}: {reasons}")
            h5.create_dataset("num_episodes", data=count)
            h5.create_dataset("version", data=_VERSION)
            h5.attrs["catp"] = _about(encoder, alphas)
    return count


def check_alphas(alphas: Sequence[float]) -> None:
    """Raise `ValueError` unless there are weights, all from 0 to 1."""
    wrong = [alpha for alpha in alphas if not 0 <= alpha <= 1]
    if wrong or not alphas:
        raise ValueError(f"alpha is a weight from 0 to 1, not {wrong[0] if wrong else 'nothing'}")


def _about(encoder: Encoder, alphas: Sequence[float]) -> str:
    about = json.loads(encoder.layout.to_json())
    about |= {"alphas": list(alphas), "left_out": dict(sorted(encoder.left_out.items()))}
    return json.dumps(about, sort_keys=True)


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ImportError("HDF5 files need h5py: pip install 'catp[train]'") from error
    return h5py
