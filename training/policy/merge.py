"""Export of a policy for other programs: a whole Hugging Face folder, or the adapter alone.

A merged folder is read back with plain `transformers`, and its logits are compared with those of the policy before it
takes its place: a folder that answers otherwise is never left behind.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from catp.training.critic.forest import FOREST
from catp.training.digest import file_digest
from catp.training.policy.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS, is_adapted
from catp.training.policy.checkpoint import load, save_model
from catp.training.policy.errors import CheckpointError
from catp.training.policy.llama import quiet
from catp.training.policy.manifest import MANIFEST, read_manifest
from catp.training.policy.weights import refuse_pickles, replaced_folder

__all__ = ["TOLERANCE", "Exported", "export"]

TOLERANCE = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
"""Greatest difference of logits that is let pass, as a share of the greatest logit, by the dtype of the export.

Merging sums the same numbers in another order (float32); the narrower types round every weight to 11 or 8 bits."""

_PROBES, _LENGTH = 4, 48
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


@dataclass(frozen=True)
class Exported:
    """What was written where. `difference` is that of logits, a share of the greatest; None for a plain copy."""

    folder: Path
    mode: Literal["merge", "adapter"]
    bytes: int
    difference: float | None
    tolerance: float | None


def export(
    policy: Path, out: Path, *, mode: Literal["merge", "adapter"] = "merge", dtype: str = "float32",
    base: str | None = None,
) -> Exported:  # fmt: skip
    """Write a policy for another program to `out`, whole or not at all.

    Args:
        policy: the folder of the policy.
        out: a folder that is not there yet, or is empty.
        mode: `merge` writes a whole model that `AutoModelForCausalLM` and `AutoTokenizer` read; `adapter` copies the
            adapter for a server that holds its base. Such a server must know peft's trainable tokens, since the rows
            of our tokens are in the adapter; for one that does not, merge.
        dtype: what weights are stored as by `merge`.
        base: where the base of an adapter lies, if not where the manifest says.

    Raises:
        CheckpointError: the policy cannot be read, is no adapter, or the export answers otherwise than it.
        FileExistsError: `out` holds something.
    """
    policy, out = Path(policy), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is not empty; name a new folder, or remove it")
    if mode == "adapter":
        _adapter(policy, out)
        return Exported(out, mode, _size(out), None, None)
    difference = _merged(policy, out, dtype, base)
    return Exported(out, mode, _size(out), difference, TOLERANCE[dtype])


def _adapter(policy: Path, out: Path) -> None:
    manifest = read_manifest(policy)
    refuse_pickles(policy)
    if ADAPTER_WEIGHTS not in manifest.weights:
        raise CheckpointError(f"{policy} holds a whole model and no adapter; export it with mode 'merge'")
    wanted = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, FOREST, MANIFEST, *_TOKENIZER)
    with replaced_folder(out) as filling:
        for path in (policy / name for name in wanted if (policy / name).is_file()):
            shutil.copyfile(path, filling / path.name)
        for name, digest in manifest.weights.items():
            if file_digest(filling / name) != digest:
                raise CheckpointError(
                    f"{policy / name} is damaged: not what {MANIFEST} says; copy the checkpoint again"
                )


def _merged(policy: Path, out: Path, dtype: str, base: str | None) -> float:
    if dtype not in TOLERANCE:
        raise ValueError(f"an export is stored as {', '.join(TOLERANCE)}, not {dtype!r}")
    found = load(policy, base=base, trainable=True)
    probes = _probes(len(found.tokens))
    before = _logits(found.model, probes)
    model = found.model.merge_and_unload() if is_adapted(found.model) else found.model
    with replaced_folder(out) as filling:
        save_model(model, filling, found.tokens, found.manifest, dtype=dtype, forest=found.forest)
        after = _logits(_plain_model(filling), probes)
        difference = float(np.abs(after - before).max() / np.abs(before).max())
        if not difference <= TOLERANCE[dtype]:
            raise CheckpointError(
                f"{policy}: the merged model's logits differ by {difference:.2g} of the greatest, more than "
                f"{TOLERANCE[dtype]:.2g} for {dtype}; export it as float32, or keep the adapter apart"
            )
    return difference


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _probes(tokens: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return sequences of tokens, ours (the last ids) and the text's in equal parts."""
    random = np.random.default_rng(0)
    ours = random.integers(max(0, tokens - 400), tokens, (_PROBES, _LENGTH // 2))
    return np.concatenate([random.integers(0, tokens, (_PROBES, _LENGTH // 2)), ours], axis=1)


def _logits(model: Any, probes: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    import torch

    with torch.no_grad():
        found: np.ndarray[Any, np.dtype[np.float32]] = model.eval()(input_ids=torch.from_numpy(probes)).logits.numpy()
    return found


def _plain_model(folder: Path) -> Any:
    """Read a folder as a program does that knows nothing of catp."""
    import torch
    from transformers import AutoModelForCausalLM

    with quiet():
        return AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32, local_files_only=True)
