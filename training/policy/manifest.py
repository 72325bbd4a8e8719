"""`catp.json`: what a checkpoint is, what it was made from, and how its planner should use it.

No time of day stands in it: the same training gives the same bytes.
"""

import hashlib
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from catp.training.caorl.config import PromptConfig, TrainConfig
from catp.training.policy.errors import CheckpointError
from catp.training.prompt.tokens import PolicyTokens

__all__ = ["MANIFEST", "SCHEMA", "BaseRef", "Manifest", "TokensRef", "config_digest", "read_manifest"]

MANIFEST = "catp.json"
SCHEMA = "catp.policy/1"

_PACKAGES = ("catp", "torch", "transformers", "peft", "tokenizers")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class BaseRef(_Part):
    """The pretrained model a checkpoint was made from: `name` or path as it was given, SHA-256 over its weights."""

    name: str
    sha256: str
    license: str | None = None


class TokensRef(_Part):
    """The tokenizer: its digest (`PolicyTokens.digest`), ids in all, plan tokens and tool slots among them."""

    sha256: str
    size: int = Field(ge=1)
    plan_tokens: int = Field(ge=1)
    tool_slots: int = Field(ge=1)

    @classmethod
    def of(cls, tokens: PolicyTokens) -> "TokensRef":
        """Describe a tokenizer."""
        vocabulary = tokens.vocabulary
        return cls(
            sha256=tokens.digest, size=len(tokens), plan_tokens=len(vocabulary), tool_slots=vocabulary.tool_slots
        )


class Manifest(_Part):
    """What stands in `catp.json`."""

    schema_: Literal["catp.policy/1"] = Field(default="catp.policy/1", alias="schema")
    name: str
    base: BaseRef | None = None
    tokens: TokensRef
    prompt: PromptConfig
    config: TrainConfig
    config_sha256: str
    data: dict[str, str] = {}
    """SHA-256 of what was learned from, by name."""
    split: dict[str, tuple[str, ...]] = {}
    """Sides of the split that were learned from, by what is split."""
    seed: int
    step: int = Field(default=0, ge=0)
    figures: dict[str, float | None] = {}
    """Figures on the validation side."""
    kappa: float = Field(default=0.0, ge=0)
    """Standard deviations that are subtracted from a predicted quality before plans are compared."""
    trust: float = Field(default=1.0, ge=0, le=1)
    """Share of the predicted difference from the composed score that counts; chosen on the validation side."""
    forest: float = Field(default=0.0, ge=0, le=1)
    """Share of the forest's correction (`catp.training.critic.forest`) that is added; 0 where there is no forest."""
    margin: float = Field(default=0.0, ge=0)
    """Utility a plan must be ahead of the cheapest one before it is chosen."""
    quality: Literal["parts", "whole"] = "parts"
    """What `<score>` predicts: the quality of each output, or of the whole plan."""
    versions: dict[str, str]
    """Versions of the packages it was made with."""
    license: str | None = "Apache-2.0"
    price_table: str | None = None
    """What prices in the training data come from."""
    weights: dict[str, str] = {}
    """SHA-256 of every file of weights."""

    @classmethod
    def begin(cls, config: TrainConfig, tokens: PolicyTokens, base: BaseRef | None = None) -> "Manifest":
        """Return the manifest of a policy before its first step."""
        data = config.data
        split = {"name": data.task_split, "inputs": data.input_split, "phrasing": data.phrasing_split}
        return cls(
            name=config.name, base=base, tokens=TokensRef.of(tokens), prompt=config.prompt, config=config,
            config_sha256=config_digest(config), split=split, seed=config.seed, versions=_versions(),
            license="Apache-2.0" if base is None else base.license,
        )  # fmt: skip

    def updated(self, **changes: Any) -> "Manifest":
        """Return a copy with other values, checked as on reading."""
        return Manifest.model_validate({**{name: getattr(self, name) for name in type(self).model_fields}, **changes})

    def text(self) -> str:
        """Return it as `catp.json` has it."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=2, sort_keys=True) + "\n"


def config_digest(config: TrainConfig) -> str:
    """Return the SHA-256 of a configuration as canonical JSON."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a checkpoint folder.

    Raises:
        CheckpointError: there is none, it is of a newer schema, or it is not valid.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is no folder; `catp models list` names the policies there are")
    if not path.is_file():
        raise CheckpointError(
            f"{folder} has no {MANIFEST}, so it is no policy of catp; to train one from this model, "
            "name the folder as model.base of `catp train`"
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON ({error}); copy the checkpoint again") from error
    schema = found.get("schema") if isinstance(found, Mapping) else None
    if schema != SCHEMA:
        raise CheckpointError(_wrong_schema(path, schema))
    try:
        return Manifest.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise CheckpointError(
            f"{path}: {where}: {first['msg']}; the file was changed or belongs to another version of catp: copy the "
            "checkpoint again, or install the catp named in its `versions`"
        ) from error


def _wrong_schema(path: Path, schema: object) -> str:
    family, _, version = str(schema).partition("/")
    if family == "catp.policy" and version.isdigit() and int(version) > 1:
        return f"{path} has schema {schema}, which is newer than {SCHEMA}; run: pip install --upgrade catp"
    return f"{path} has schema {schema!r}, not {SCHEMA!r}: it is no policy of catp"


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
