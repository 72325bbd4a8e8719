"""The model card: every number in it is a fact of the run."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catp.training.caorl.config import TrainConfig
from catp.training.caorl.metrics import read_metrics
from catp.training.caorl.run import run_training
from catp.training.caorl.settings import load_config
from catp.training.policy.card import model_card
from catp.training.policy.manifest import BaseRef, Manifest, TokensRef, read_manifest
from tests.training.cli.learning import CONFIG, prepare

NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)*(?:e[-+]?\d+)?")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card")
    (folder / "echo.toml").write_text(CONFIG)
    config = load_config(folder / "echo.toml")
    run_training(prepare(config), config, folder / "out", command="catp train --config echo.toml")
    return folder / "out"


def numbers(value: Any) -> Iterator[float | str]:
    """All numbers in a document, and all that its strings hold."""
    if isinstance(value, dict):
        for one in value.items():
            yield from numbers(list(one))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from numbers(one)
    elif isinstance(value, str):
        yield from NUMBER.findall(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def told(text: str, facts: list[float | str]) -> bool:
    """Whether a number as the card has it is one of the facts: to four digits, or as it stands (a version)."""
    if text in facts:
        return True
    value = float(text.replace(",", ""))
    return any(isinstance(fact, float) and (fact == value or f"{fact:.4g}" == f"{value:.4g}") for fact in facts)


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_every_number_is_a_fact_of_the_run(run: Path, checkpoint: str) -> None:
    card = (run / checkpoint / "README.md").read_text()
    manifest = json.loads((run / checkpoint / "catp.json").read_text())
    events = [event for event in read_metrics(run / "metrics.jsonl") if event["step"] <= manifest["step"]]
    facts = list(numbers(manifest)) + list(numbers(events))
    facts.append(sum(event["seconds"] for event in events if event["event"] == "step"))
    for digest in re.findall(r"\b[0-9a-f]{64}\b", card):
        assert digest in json.dumps(manifest)
        card = card.replace(digest, "")
    found = NUMBER.findall(card.replace("SHA-256", "digest"))
    assert len(found) > 40
    assert [text for text in found if not told(text, facts)] == []


def test_what_it_tells(run: Path) -> None:
    card = (run / "best" / "README.md").read_text()
    manifest = read_manifest(run / "best")
    for fact in (
        "# echo", "license: apache-2.0", f"- echo: SHA-256 `{'e' * 64}`", "$ catp train --config echo.toml",
        f"| regret | {manifest.figures['regret']:.4g} |", "- seed: 0", "not known" if not manifest.figures else "alpha",
        manifest.config_sha256, manifest.weights["model.safetensors"], manifest.tokens.sha256,
    ):  # fmt: skip
        assert fact in card
    block = card.split("```toml\n")[1].split("```")[0]
    path = run / "again.toml"
    path.write_text(block)
    assert load_config(path) == manifest.config
    path.unlink()


def manifest(**more: Any) -> Manifest:
    config = TrainConfig.model_validate(more.pop("config", {}))
    tokens = TokensRef(sha256="a" * 64, size=900, plan_tokens=273, tool_slots=64)
    return Manifest(
        name="mine", tokens=tokens, prompt=config.prompt, config=config, config_sha256="b" * 64, seed=7,
        versions={"catp": "0.1.0"}, **more,
    )  # fmt: skip


def test_intervals_and_what_nobody_measured() -> None:
    card = model_card(manifest(figures={"regret": 0.25, "regret_low": 0.125, "regret_high": 0.5, "hit": None}, step=3))
    assert "| regret | 0.25 [0.125, 0.5] |" in card
    assert "| hit | not known |" in card
    assert "regret_low" not in card
    bare = model_card(manifest())
    assert "Not measured." in bare
    assert "$ catp train --config config.toml" in bare
    assert "None" not in bare


def test_adapters_name_their_base() -> None:
    base = BaseRef(name="smollm2", sha256="c" * 64, license="Apache-2.0")
    lora = {"lora": {"rank": 16}, "model": {"base": "smollm2"}, "data": {"without_tools": ["ocr"], "limit": 5}}
    weights = {"adapter_model.safetensors": "f" * 64}
    card = model_card(manifest(base=base, config=lora, license=None, data={"catp-sim": "d" * 64}, weights=weights))
    for fact in (
        "A LoRA adapter of rank 16 on smollm2", "base_model: smollm2", "library_name: peft", f"`{'c' * 64}`",
        "license: other", "tools held out: ocr", "at most 5 inputs", "A part of the data is simulated",
    ):  # fmt: skip
        assert fact in card
    merged = model_card(manifest(base=base, config=lora))
    assert "smollm2 with a LoRA of rank 16 merged in" in merged
    assert "library_name: transformers" in merged
    assert "smollm2, trained further" in model_card(manifest(base=base))


def test_later_events_are_not_told() -> None:
    started = {"event": "started", "step": 0, "device": "cpu", "processes": 1, "parameters": 9, "trainable": 9}
    steps = [{"event": "step", "step": n, "loss": n / 8, "seconds": 1.0, "memory": 100} for n in (1, 2)]
    card = model_card(manifest(step=1), [started, *steps])
    assert "- last loss: 0.125" in card
    assert "- time in steps: 1 s" in card
