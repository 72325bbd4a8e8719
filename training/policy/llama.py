"""Reading models and tokenizers of Hugging Face folders that lie on this machine, with errors that name the fix."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from catp.training.policy.errors import CheckpointError, needs
from catp.training.policy.weights import check_weights, read_json, refuse_pickles, torch_dtype, weight_files
from catp.training.prompt.tokens import PolicyTokens

__all__ = ["CONFIG", "WEIGHTS", "check_rows", "load_llama", "load_tokenizer", "model_config", "model_state", "quiet"]

CONFIG, WEIGHTS = "config.json", "model.safetensors"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers and peft from writing bars, reports and notices of their own future to stderr meanwhile.

    What matters of it becomes an error here.
    """
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft calls what transformers is about to rename
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def load_llama(folder: Path, *, dtype: str | None, attention: str = "sdpa", **options: Any) -> Any:
    """Read the model of a Hugging Face folder.

    Args:
        folder: where it lies.
        dtype: what its weights become; None leaves them as they are stored.
        attention: `sdpa` or `eager`.
        options: more for `from_pretrained`.

    Raises:
        CheckpointError: it is of another architecture, has no safetensors weights, or lacks some.
        ImportError: torch or transformers is not installed.
    """
    found = read_json(folder / CONFIG)
    if found.get("model_type") != "llama":
        raise CheckpointError(
            f"{folder / CONFIG} is of a {found.get('model_type')!r} model; a policy is a Llama (model_type 'llama')"
        )
    refuse_pickles(folder)
    if not weight_files(folder):
        raise CheckpointError(f"{folder / WEIGHTS} is missing; copy the folder again")
    for path in weight_files(folder):
        check_weights(path)
    try:
        from transformers import LlamaForCausalLM
    except ImportError as error:
        raise needs("torch and transformers", "a policy") from error
    try:
        with quiet():
            model, report = LlamaForCausalLM.from_pretrained(
                str(folder), dtype="auto" if dtype is None else torch_dtype(dtype), local_files_only=True,
                use_safetensors=True, attn_implementation=attention, output_loading_info=True, **options,
            )  # fmt: skip
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        raise CheckpointError(
            f"{folder}: the weights do not fit {CONFIG}: {_first_line(error)}; copy the folder again"
        ) from error
    lacking = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if lacking:
        raise CheckpointError(
            f"{folder}: the weights lack {len(lacking)} tensors that {CONFIG} asks for, first {lacking[0]}; "
            "copy the folder again"
        )
    return model


def load_tokenizer(folder: Path) -> Any:
    """Read the fast tokenizer of a Hugging Face folder.

    Raises:
        CheckpointError: it is missing or damaged.
        ImportError: transformers is not installed.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; copy the folder again")
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise needs("torch and transformers", "a policy") from error
    try:
        with quiet():
            return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare Exceptions on a damaged file
        raise CheckpointError(f"{path} is damaged: {_first_line(error)}; copy the folder again") from error


def model_state(model: Any) -> dict[str, Any]:
    """Return the tensors of a model as they are stored: tied weights once."""
    state = dict(model.state_dict())
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    return state


def model_config(model: Any, dtype: str | None = None) -> dict[str, Any]:
    """Return what stands in `config.json` for a model whose weights are stored as `dtype` (None: as they are)."""
    stored: dict[str, Any] = model.config.to_dict()
    for key in (
        "_name_or_path",
        "_model_name_or_path",
        "quantization_config",
    ):  # where it was read from
        stored.pop(key, None)
    return {**stored, "dtype": dtype or str(model.dtype).removeprefix("torch."), "architectures": ["LlamaForCausalLM"]}


def check_rows(rows: int, tokens: PolicyTokens, where: Path) -> None:
    """Check that an embedding of `rows` rows has one for every token.

    Raises:
        CheckpointError: it has fewer.
    """
    if rows < len(tokens):
        raise CheckpointError(
            f"{where}: the model has {rows} embedding rows and the tokenizer {len(tokens)} tokens, so they belong to "
            "different checkpoints; copy both from one"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
