"""Trajectories for Minari: the plan-construction MDP as a local dataset (Farama's format for offline RL).

    write(Path("data/catp-bench-v0"), records)

    os.environ["MINARI_DATASETS_PATH"] = "data"
    dataset = minari.load_dataset("catp-bench-v0")

One episode per plan and alpha, as in `catp.training.data.d3rlpy_hdf5`. Minari keeps one observation more than there
are actions: the last one is the complete plan, whose mask allows nothing. Each step's info has the mask by itself
(`action_mask`), each episode's the plan's id and alpha. Nothing is uploaded, and no environment is named: plans cannot
be built anew without their tools.
"""

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from itertools import count, islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from catp import __version__
from catp.training.data.d3rlpy_hdf5 import ALPHAS, check_alphas
from catp.training.data.mdp import Encoder, Episode, encode
from catp.training.data.mdp_source import toolset_for
from catp.training.data.toolset import Toolset
from catp.training.data.trajectory import Trajectory

__all__ = ["write"]

_NAME: Final = re.compile(r"[A-Za-z0-9_-]+-v\d+")
_CODE: Final = f"catp {__version__}, module catp.training.data.minari"
_BATCH: Final = 256


def write(
    path: Path,
    records: Iterable[Trajectory],
    *,
    alphas: Sequence[float] = ALPHAS,
    author: str = "the authors of CATP",
    code_permalink: str | None = None,
    algorithm_name: str | None = None,
    toolset: Toolset | None = None,
    price_scale: Decimal | None = None,
    tools: int = 24,
    slots: int = 12,
) -> int:
    """Make the dataset; return how many episodes it has.

    Args:
        path: The dataset's folder, which must not exist; its name, such as `catp-bench-v0`, is the id of the dataset
            and the folder around it what MINARI_DATASETS_PATH must name to load it.
        records: Trajectories, set by set.
        author: Who is responsible for the data.
        code_permalink: Where the code is that made it; by default the version of catp.
        algorithm_name: Who chose the plans; by default the records' policies.
        alphas, toolset, price_scale, tools, slots: As for `catp.training.data.d3rlpy_hdf5.write`.

    Raises:
        ValueError: The folder's name is no dataset id, or nothing can be written.
        FileExistsError: The folder exists.
        ImportError: minari is missing (extra `train`).
    """
    if not _NAME.fullmatch(path.name):
        raise ValueError(f"{path}: a Minari dataset is called NAME-vN, such as catp-bench-v0")
    if path.exists():
        raise FileExistsError(f"{path} exists; remove it, or write the next version")
    check_alphas(alphas)
    known = list(records)
    found = toolset if toolset is not None else toolset_for(known, path)
    encoder, episodes = encode(known, found, price_scale=price_scale, tools=tools, slots=slots)
    policies = sorted({record.policy.name for record in known if record.policy.name})
    about = {
        "dataset_id": path.name,
        "author": {author},
        "code_permalink": code_permalink or _CODE,
        "algorithm_name": algorithm_name or ", ".join(policies) or "unknown",
        "description": _description(known, encoder, alphas),
        "requirements": [f"catp=={__version__}"],
    }
    with _making(path) as folder:
        return _fill(folder, encoder, _buffers(encoder, episodes, alphas), about)


def _fill(folder: Path, encoder: Encoder, buffers: Iterator[Any], about: dict[str, Any]) -> int:
    """Write the dataset in batches, so that memory does not grow."""
    minari, storage_class, gym = _minari()
    storage = storage_class.new(
        folder / "data",
        observation_space=gym.spaces.Box(-np.inf, np.inf, (encoder.layout.width,), np.float32),
        action_space=gym.spaces.Discrete(encoder.layout.actions),
        data_format="hdf5",
        jpeg_encoding=False,
    )
    storage.update_metadata({**about, "minari_version": minari.__version__})
    done = 0
    while batch := list(islice(buffers, _BATCH)):
        storage.update_episodes(batch)
        done += len(batch)
    if not done:
        reasons = ", ".join(f"{reason} ({n})" for reason, n in encoder.left_out.most_common()) or "no records"
        raise ValueError(f"nothing to write: {reasons}")
    return done


def _buffers(encoder: Encoder, episodes: Iterator[Episode], alphas: Sequence[float]) -> Iterator[Any]:
    from minari.data_collector import EpisodeBuffer

    numbers = count()
    for episode in episodes:
        last = np.zeros(len(episode.actions), dtype=bool)
        last[-1] = True
        for alpha in alphas:
            observations, rewards = episode.at(alpha)
            final = episode.final.copy()
            final[0] = alpha
            seen = np.concatenate([observations, final[None]])
            yield EpisodeBuffer(
                id=next(numbers),
                observations=seen,
                actions=episode.actions,
                rewards=rewards,
                terminations=last,
                truncations=np.zeros_like(last),
                infos={
                    "action_mask": seen[:, -encoder.layout.actions :].astype(np.int8),
                    "alpha": np.full(len(seen), alpha, dtype=np.float32),
                },
                options={"trajectory_id": episode.id, "candidate_set": episode.candidate_set, "alpha": alpha},
            )


def _description(records: Sequence[Trajectory], encoder: Encoder, alphas: Sequence[float]) -> str:
    names = ", ".join(sorted({record.dataset for record in records}))
    return (
        f"Plans of {names} as decisions of the plan-construction MDP of CATP, labelled at alpha "
        f"{', '.join(map(str, alphas))}. Returns are utilities. Actions and features: {encoder.layout.to_json()}"
    )


@contextmanager
def _making(path: Path) -> Iterator[Path]:
    """A folder that gets its name when it is complete, and vanishes if anything fails."""
    with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=f".{path.name}.") as folder:
        made = Path(folder) / path.name
        made.mkdir()
        yield made
        made.rename(path)


def _minari() -> tuple[Any, Any, Any]:
    try:
        import gymnasium
        import minari
        from minari.dataset.minari_storage import MinariStorage
    except ImportError as error:
        raise ImportError("Minari datasets need minari: pip install 'catp[train]'") from error
    return minari, MinariStorage, gymnasium
