"""The model card of a checkpoint: its README.md, from facts of the run alone.

Every number comes from the manifest (which holds the whole configuration) or from the events of the run; what nobody
measured is not mentioned. Sections follow Mitchell et al., "Model Cards for Model Reporting" (2019).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from catp.training.caorl.settings import config_toml
from catp.training.critic.forest import FOREST
from catp.training.policy.manifest import Manifest

__all__ = ["CARD", "model_card", "write_card"]

CARD = "README.md"

_METHODS = {
    "awr": "advantage-weighted cross-entropy, a listwise loss over measured plans, and a learned quality read-out",
    "bc": "behaviour cloning of all measured plans",
    "filtered-bc": "behaviour cloning of the best measured plan of each input",
    "caorl": "CAORL as published, with the defects of its released code mended",
    "caorl-released": "CAORL as its code was released",
}


def write_card(
    folder: Path, manifest: Manifest, events: Sequence[Mapping[str, Any]] = (), command: str | None = None
) -> Path:
    """Write `README.md` into a checkpoint folder; arguments as of `model_card`."""
    path = folder / CARD
    path.write_text(model_card(manifest, events, command), encoding="utf-8", newline="\n")
    return path


def model_card(manifest: Manifest, events: Sequence[Mapping[str, Any]] = (), command: str | None = None) -> str:
    """Return the card.

    Args:
        manifest: of the checkpoint.
        events: of the run, as `catp.training.caorl.metrics.read_metrics` returns them; later ones than the
            checkpoint's are not told.
        command: that trained it, word for word; None if nobody knows it any more.
    """
    before = [event for event in events if event["step"] <= manifest.step]
    sections = [
        ("", _front(manifest)),
        (f"# {manifest.name}", _what(manifest, before)),
        ("## How to use it", _use(manifest)),
        ("## Data", _data(manifest)),
        ("## Training", _training(manifest, before, command)),
        ("## Figures", _figures(manifest, before)),
        ("## Limits", _limits(manifest)),
        ("## Configuration", ["```toml", config_toml(manifest.config).rstrip("\n"), "```"]),
    ]
    return "\n\n".join("\n".join([heading, "", *lines] if heading else lines) for heading, lines in sections) + "\n"


def _front(manifest: Manifest) -> Iterator[str]:
    """Front matter as the Hugging Face hub reads it."""
    yield "---"
    yield f"license: {(manifest.license or 'other').lower()}"
    if manifest.base is not None:
        yield f"base_model: {manifest.base.name}"
    yield f"library_name: {'peft' if _is_adapter(manifest) else 'transformers'}"
    yield "tags: [tool-use, planning, cost-aware, offline-reinforcement-learning]"
    yield "---"


def _what(manifest: Manifest, events: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    base, rank = manifest.base, manifest.config.lora.rank
    if base is None:
        yield "A Llama that was trained from random weights."
    elif _is_adapter(manifest):
        yield f"A LoRA adapter of rank {rank} on {base.name}."
    else:
        yield f"{base.name} with a LoRA of rank {rank} merged in." if rank else f"{base.name}, trained further."
    yield "It plans paid tool calls: it reads a catalogue of tools with their prices, a request and an objective;"
    yield "it writes plans and predicts their quality. The planner of catp adds the cheapest plans, prices all of them,"
    yield "and decides."
    yield ""
    started = next((event for event in reversed(events) if event["event"] == "started"), None)
    if started is not None:
        yield f"- parameters: {started['parameters']:,}, trained: {started['trainable']:,}"
    if base is not None:
        yield f"- base: {base.name}, licence {base.license or 'not known'}, SHA-256 of its weights `{base.sha256}`"
    tokens = manifest.tokens
    yield f"- tokens: {tokens.size:,}, of which {tokens.plan_tokens} spell plans; digest `{tokens.sha256}`"
    yield f"- licence of the weights: {manifest.license or 'not told'}"
    yield from (f"- `{name}`: SHA-256 `{digest}`" for name, digest in sorted(manifest.weights.items()))


def _use(manifest: Manifest) -> list[str]:
    return [
        "```console",
        "$ catp models show DIR",
        "$ catp eval --model DIR",
        '$ catp run "..." --planner policy:DIR',
        "```",
        "",
        f"Decisions subtract {manifest.kappa:g} standard deviations from a predicted quality, and leave the cheapest",
        f"plan for a gain in utility of more than {manifest.margin:g}.",
        *_mixture(manifest),
    ]


def _mixture(manifest: Manifest) -> list[str]:
    if FOREST not in manifest.weights:
        return []
    return [
        "",
        f"A predicted quality is what the tools' profiles promise, plus {manifest.trust:g} of the difference that the",
        f"network predicts, plus {manifest.forest:g} of the correction by the trees in `{FOREST}`. These shares",
        "have the least regret on the validation side: `mixed_regret` below; `regret` is that of the network alone,",
        "`forest_regret` that of the trees alone, `composed_regret` that of neither.",
    ]


def _data(manifest: Manifest) -> Iterator[str]:
    data = manifest.config.data
    yield f"Learned from {', '.join(data.paths)}. Sources and licences of shipped data are in their own cards."
    yield ""
    yield from (f"- {name}: SHA-256 `{digest}`" for name, digest in sorted(manifest.data.items()))
    yield from (f"- split by {name}: {', '.join(sides) or 'all'}" for name, sides in sorted(manifest.split.items()))
    if data.without_tools:
        yield f"- tools held out: {', '.join(data.without_tools)}"
    if data.limit is not None:
        yield f"- at most {data.limit:,} inputs"
    yield f"- prices: {manifest.price_table or 'as the trajectories have them'}"
    yield ""
    yield "Prices and times are read from the tools' profiles when a plan is made; only quality was learned."


def _training(manifest: Manifest, events: Sequence[Mapping[str, Any]], command: str | None) -> Iterator[str]:
    config = manifest.config
    yield f"{_METHODS[config.method.name].capitalize()} (`method.name = {config.method.name}`)."
    yield ""
    yield f"- steps: {manifest.step:,} of {config.optim.steps:,}, {config.optim.batch} inputs each"
    yield f"- seed: {manifest.seed}"
    alphas = ", ".join(f"{alpha:g}" for alpha in config.method.alphas)
    yield f"- alpha, the weight of quality against price: half of the examples have one of {alphas}, the others any"
    steps = [event for event in events if event["event"] == "step"]
    started = next((event for event in reversed(events) if event["event"] == "started"), None)
    if steps:
        yield f"- last loss: {_number(steps[-1]['loss'])}"
        yield f"- time in steps: {_number(sum(event['seconds'] for event in steps))} s"
        yield f"- peak memory: {max(event['memory'] for event in steps):,} bytes"
    if started is not None:
        yield f"- device: {started['device']}, processes: {started['processes']}"
    yield f"- made with {', '.join(f'{name} {version}' for name, version in sorted(manifest.versions.items()))}"
    yield f"- SHA-256 of the configuration: `{manifest.config_sha256}`"
    yield ""
    yield "```console"
    yield f"$ {command or 'catp train --config config.toml'}"
    yield "```"
    if command is None:
        yield ""
        yield "with the configuration at the end of this card as `config.toml`."


def _figures(manifest: Manifest, events: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not manifest.figures:
        yield "Not measured."
        return
    config = manifest.config.eval
    alphas = ", ".join(f"{alpha:g}" for alpha in config.alphas)
    yield f"On at most {config.limit:,} inputs of the validation side, at alpha {alphas}."
    yield "Regret is normalised: none is the best measured plan of every input, one the worst."
    yield ""
    yield "| figure | value |"
    yield "|---|---:|"
    for name, value in sorted(manifest.figures.items()):
        if not name.endswith(("_low", "_high")):
            low, high = (manifest.figures.get(f"{name}_{end}") for end in ("low", "high"))
            interval = "" if low is None or high is None else f" [{_number(low)}, {_number(high)}]"
            yield f"| {name} | {_number(value)}{interval} |"
    measured = [event for event in events if event["event"] == "evaluated"]
    if len(measured) > 1:
        yield ""
        yield "| after step | regret |"
        yield "|---:|---:|"
        yield from (f"| {event['step']:,} | {_number(event['figures']['regret'])} |" for event in measured)


def _limits(manifest: Manifest) -> Iterator[str]:
    prompt, tokens = manifest.config.prompt, manifest.tokens
    yield f"- It can be offered {tokens.tool_slots} tools at most; it was trained with {prompt.max_tools} at most."
    yield f"- It reads the first {prompt.max_request} tokens of a request, {prompt.max_description} of a description"
    yield f"  and {prompt.max_name} of a name."
    yield "- Quality is predicted, never guaranteed; it was measured with the tools and the metrics of the data above."
    yield "- Figures on the validation side chose this checkpoint, so they are a little too good; `catp eval` measures"
    yield "  it on the test sides."
    if manifest.data and any("sim" in name for name in manifest.data):
        yield "- A part of the data is simulated."


def _is_adapter(manifest: Manifest) -> bool:
    return any(name.startswith("adapter_") for name in manifest.weights)


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.4g}"
