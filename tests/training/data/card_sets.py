"""Candidate sets for tests of data cards, made of numbers."""

from collections.abc import Sequence

from catp.planlang.money import Money
from catp.training.data.toolset import ToolInfo, ToolInput
from catp.training.evaluate.candidates import CandidateSet, Option, StepUse

SCALE = Money(1_000_000)

TOOLS = {
    tool.name: tool
    for tool in (
        ToolInfo(name="clean", capability="denoise", output="image", inputs=[
            ToolInput(name="image", type="image"), ToolInput(name="size", type="int", optional=True)]),
        ToolInfo(name="read", capability="ocr", output="Reading", inputs=[ToolInput(name="image", type="image")]),
        ToolInfo(name="look", capability="ocr", output="Reading", inputs=[ToolInput(name="image", type="image")]),
    )
}  # fmt: skip


def option(plan: str, score: float, price: float, *, latency: float = 1.0, serial: float = 1.0) -> Option:
    """A chain; `plan` names its tools with spaces between. The price is shared out evenly."""
    tools = plan.split()
    steps = tuple(
        StepUse(tool, (n - 1,) if n else (), price / len(tools), latency / len(tools)) for n, tool in enumerate(tools)
    )
    return Option(plan, plan, steps, score, price, latency, serial)


def made(
    options: Sequence[Option],
    id: str = "s",
    group: str = "page-text",
    *,
    condition: str = "",
    wanted: Sequence[str] = ("text",),
    inputs: Sequence[str] = ("image",),
    split: str = "train",
) -> CandidateSet:
    """One input. A million nano-USD weigh as much as score 1 at alpha 0.5."""
    return CandidateSet(
        id, group, "made", tuple(options), SCALE, "?", "en", tuple(wanted), tuple(inputs), (100,), (condition,),
        {"name": split},
    )  # fmt: skip
