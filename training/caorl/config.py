"""The configuration of a training run: one TOML file, every key checked, the resolved form saved with the run."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from catp.training.prompt.render import PromptStyle

__all__ = [
    "DataConfig",
    "EvalConfig",
    "LoraConfig",
    "MethodConfig",
    "ModelConfig",
    "OptimConfig",
    "PromptConfig",
    "TrainConfig",
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(_Part):
    """What is learned from. `paths` are trajectory files or folders, or names of shipped sets (`catp-bench`, ...).

    `task_split`, `input_split` and `phrasing_split` say which sides of the split are learned from; the validation side
    is what is `val` in tasks or inputs. `without_tools` leaves plans with these tools out, and never offers them.
    """

    paths: tuple[str, ...] = ("catp-bench",)
    task_split: tuple[str, ...] = ("train",)
    input_split: tuple[str, ...] = ("train",)
    phrasing_split: tuple[str, ...] = ("train",)
    without_tools: tuple[str, ...] = ()
    limit: int | None = Field(default=None, ge=1)
    """Most inputs of each side."""


class ModelConfig(_Part):
    """The network: a new Llama of the given size, or `base`, a folder (or GGUF file) with a pretrained one."""

    base: str | None = None
    hidden: int = 256
    layers: int = 4
    heads: int = 8
    kv_heads: int = 8
    intermediate: int = 1024
    text_tokens: int = 2000
    """Size of the text tokenizer that is trained for a new network."""
    tool_slots: int = 64
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Literal["sdpa", "eager"] = "sdpa"


class LoraConfig(_Part):
    """Low-rank adapters (peft) on a base; `rank` 0 is full fine-tuning.

    `quantise` (QLoRA) needs a GPU and bitsandbytes.
    """

    rank: int = Field(default=0, ge=0)
    alpha: float = 32.0
    dropout: float = Field(default=0.05, ge=0, lt=1)
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    quantise: Literal["none", "4bit"] = "none"


class PromptConfig(_Part):
    """How a request is written, and how it is varied in training (`0` switches a variation off)."""

    max_tools: int = Field(default=24, ge=1)
    max_description: int = Field(default=6, ge=0)
    max_name: int = Field(default=4, ge=1)
    max_request: int = Field(default=32, ge=0)
    shuffle_slots: bool = True
    drop_tools: float = Field(default=0.5, ge=0, le=1)
    """Most of the unused tools that may be left out, drawn evenly from 0 to this share."""
    hide_names: float = Field(default=0.1, ge=0, le=1)
    """Chance that a tool's name is replaced by another one's sound: what it is for must be read off the rest."""
    price_jitter: float = Field(default=1.0, ge=0)
    """Standard deviation, in octaves, of the factor by which each tool's price is multiplied (labels recomputed)."""
    jitter_share: float = Field(default=0.3, ge=0, le=1)
    """Share of examples whose prices are jittered."""
    condition_return: float = Field(default=0.2, ge=0, le=1)
    """Share of examples that are told the return (utility) to reach."""
    condition_budget: float = Field(default=0.2, ge=0, le=1)
    """Share of examples that are told a budget and, after each step, what is left of it."""

    @property
    def style(self) -> PromptStyle:
        """How much of each text is shown: the same in training and in planning."""
        return PromptStyle(self.max_description, self.max_name, self.max_request)


class MethodConfig(_Part):
    """What is minimised. `name`: ours (`awr`), behaviour cloning (`bc`), filtered (`filtered-bc`), CAORL as published
    with the reference's defects fixed (`caorl`) or as released (`caorl-released`).

    The weights are of the parts of `awr`: `policy` advantage-weighted cross-entropy, `listwise` over the candidate set,
    `quality` of the quality read-out, `decision` of the utility ranking that follows from it.
    """

    name: Literal["awr", "bc", "filtered-bc", "caorl", "caorl-released"] = "awr"
    policy: float = 0.3
    listwise: float = 0.3
    quality: float = 1.0
    decision: float = 1.0
    beta: float = Field(default=0.1, gt=0)
    """Temperature of the advantage weights, in utility."""
    tau: float = Field(default=0.05, gt=0)
    """Temperature of the target distribution over candidates, in utility."""
    max_weight: float = 20.0
    plans: int = Field(default=8, ge=1)
    """Most plans of an input that one example holds."""
    alphas: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 0.8, 0.9, 0.95, 1.0)
    """Half of the examples draw alpha from these, half evenly from [0, 1]."""


class OptimConfig(_Part):
    """AdamW with linear warm-up and cosine decay to `final` of the peak."""

    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = 0.05
    warmup: int = Field(default=100, ge=0)
    final: float = Field(default=0.05, ge=0, le=1)
    clip: float = Field(default=1.0, gt=0)
    steps: int = Field(default=1500, ge=1)
    batch: int = Field(default=8, ge=1)
    """Inputs per forward pass."""
    accumulate: int = Field(default=1, ge=1)
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay of the running mean of weights that is evaluated and saved; 0 keeps none."""
    bf16: bool = False
    gradient_checkpointing: bool = False
    threads: int | None = None
    """CPU threads; None leaves it to torch."""


class EvalConfig(_Part):
    """Evaluation while training, on the validation side: normalised regret, mean over `alphas`."""

    every: int = Field(default=200, ge=1)
    limit: int = Field(default=200, ge=1)
    """Most validation inputs."""
    alphas: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95)
    patience: int | None = None
    """Evaluations without a better regret before training stops."""


class TrainConfig(_Part):
    """Everything about a run. `seed` decides initial weights, order and augmentation."""

    name: str = "policy"
    seed: int = 0
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    lora: LoraConfig = LoraConfig()
    prompt: PromptConfig = PromptConfig()
    method: MethodConfig = MethodConfig()
    optim: OptimConfig = OptimConfig()
    eval: EvalConfig = EvalConfig()
    save_every: int = Field(default=200, ge=1)
    device: str = "auto"
    track: tuple[Literal["tensorboard", "mlflow", "wandb", "trackio"], ...] = ()
