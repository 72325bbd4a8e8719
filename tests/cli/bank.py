"""Two paid tools that note in files next to them that they were called."""

from pathlib import Path

from catp.tools import Catalogue, PerCall, tool

HERE = Path(__file__).parent


@tool(price=PerCall("0.001"), effects="read")
async def look_up(who: str) -> str:
    """Find somebody's account."""
    with (HERE / "looked.txt").open("a") as file:
        file.write(f"{who}\n")
    return f"account of {who}"


@tool(price=PerCall("0.005"), effects="write")
async def pay(account: str) -> str:
    """Send money."""
    with (HERE / "paid.txt").open("a") as file:
        file.write(f"{account}\n")
    return f"paid to {account}"


CATALOGUE = Catalogue((look_up, pay))
