from pathlib import Path

import pytest
from pydantic import ValidationError

from catp.training.caorl.config import PromptConfig, TrainConfig
from catp.training.policy.checkpoint import Policy
from catp.training.policy.manifest import Manifest, TokensRef, config_digest, read_manifest
from catp.training.prompt.render import PromptStyle


def test_what_is_written_is_read(policy: Policy, tmp_path: Path) -> None:
    manifest = policy.manifest.updated(figures={"regret": 0.125, "hypervolume": None}, margin=0.02, quality="whole")
    (tmp_path / "catp.json").write_text(manifest.text())
    assert read_manifest(tmp_path) == manifest
    assert '"schema": "catp.policy/1"' in manifest.text()


def test_it_says_what_the_policy_was_made_from(policy: Policy) -> None:
    manifest = policy.manifest
    assert manifest.tokens == TokensRef.of(policy.tokens)
    assert manifest.split == {"name": ("train",), "inputs": ("train",), "phrasing": ("train",)}
    assert manifest.seed == manifest.config.seed == 3
    assert {"catp", "torch", "transformers", "peft"} <= set(manifest.versions)


def test_no_time_stands_in_it(policy: Policy) -> None:
    assert Manifest.begin(policy.manifest.config, policy.tokens).text() == policy.manifest.text()


def test_the_digest_of_a_configuration_depends_on_every_key() -> None:
    config = TrainConfig()
    same = TrainConfig.model_validate(config.model_dump())
    other = config.model_copy(update={"optim": config.optim.model_copy(update={"lr": 2e-3})})
    assert config_digest(config) == config_digest(same) != config_digest(other)


def test_changes_are_checked(policy: Policy) -> None:
    with pytest.raises(ValidationError, match="kappa"):
        policy.manifest.updated(kappa=-1.0)
    with pytest.raises(ValidationError, match="stepp"):
        policy.manifest.updated(stepp=3)


def test_it_says_how_prompts_are_written(policy: Policy, tmp_path: Path) -> None:
    prompt = PromptConfig(max_description=2, max_name=3, max_request=5)
    (tmp_path / "catp.json").write_text(policy.manifest.updated(prompt=prompt).text())
    style = read_manifest(tmp_path).prompt.style
    assert style == PromptStyle(max_description=2, max_name=3, max_request=5)
