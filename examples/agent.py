"""Two rival paid tools, one budget: the agent chooses, prices, runs and accounts."""

import asyncio
from dataclasses import dataclass

from catp import Agent, tool
from catp.tools import PerCall


@dataclass(frozen=True)
class Mood:
    label: str


@tool(price=PerCall("0.0005"), accuracy=0.72)
async def mood_words(text: str) -> Mood:
    return Mood("good" if "lovely" in text else "bad")


@tool(price=PerCall("0.02"), accuracy=0.95)
async def mood_expert(text: str) -> Mood:  # stands for a call of a dear model
    return Mood("good" if "lovely" in text else "bad")


async def main() -> None:
    inputs = {"text": "What a lovely morning."}
    async with Agent([mood_words, mood_expert], budget="0.05") as agent:
        for alpha in (0.2, 0.99):  # how much quality weighs against price
            quote = await agent.quote("tell me the mood", inputs, wanted={"mood": "Mood"}, alpha=alpha)
            print(f"alpha {alpha}: {quote.price}", quote.text, sep="\n")
        result = await agent.run(quote, inputs)
        print(result.status, result.outputs, *result.ledger)


if __name__ == "__main__":
    asyncio.run(main())
