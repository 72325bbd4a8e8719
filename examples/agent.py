"""Two rival paid tools, one budget: the agent picks, prices, runs and accounts."""

import asyncio
from dataclasses import dataclass

from catp import Agent, tool
from catp.planlang import Money, format_usd
from catp.tools import PerCall


@dataclass(frozen=True)
class Mood:
    """How a text feels."""

    label: str
    confidence: float


@tool(price=PerCall("0.0005"), accuracy=0.72, capability="mood")
async def mood_words(text: str) -> Mood:
    """Judge the mood of a text by its words."""
    return Mood("good" if "lovely" in text else "bad", 0.6)


@tool(price=PerCall("0.02"), accuracy=0.95, capability="mood")
async def mood_expert(text: str) -> Mood:
    """Judge the mood of a text with a dear model (stands for an API call)."""
    await asyncio.sleep(0.1)
    return Mood("good" if "lovely" in text else "bad", 0.97)


async def main() -> None:
    """Quote a task at two weights of quality against price, then run the dearer plan."""
    async with Agent([mood_words, mood_expert], budget="0.05") as agent:
        inputs = {"text": "What a lovely morning."}
        for alpha in (0.2, 0.95):
            quote = await agent.quote("tell me the mood", inputs, wanted={"mood": "Mood"}, alpha=alpha)
            print(f"alpha {alpha}: {quote.price}, quality {quote.quality}\n{quote.text}")
        result = await agent.run(quote, inputs)
        print(f"{result.status}: {result.outputs['mood']} for ${format_usd(result.spent)}")
        for row in result.ledger:
            print(f"  {row.step} {row.tool} {row.quantity:g} {row.unit} ${format_usd(row.amount or Money(0))}")


if __name__ == "__main__":
    asyncio.run(main())
