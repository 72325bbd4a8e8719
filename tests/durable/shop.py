"""Twelve steps over real tools whose effects lie in a file, in runs that can be killed in the middle of a real process.

Every call writes a line `call TOOL ARGS` and every change of the world a line `act KEY` into one file, with one `write`
each, so that nothing of it is lost when the process is killed.
"""

from collections import Counter
from pathlib import Path

from catp.tools import Catalogue, PerCall, tool

PLAN = """
in page: text
raw = fetch(page)
parts = split(raw)
tags = tag(each parts) @quorum(0.5)
sums = summarise(each parts) @retry(2, backoff=1ms)
fact = flaky(raw) @retry(2, backoff=1ms)
best = broken(raw) | spare(raw)
gate = score(best)
extra = enrich(best, fact) when gate > 0.5
plain = enrich(best, fact) when gate > 2.0 else best
order = book(best) @key(t"order-{page}")
mail = send(order)
posts = post(each parts) @key(t"post-{page}")
report = join(tags, sums, extra, plain, mail, posts)
out report, mail, posts
"""

WORLD = Path()
"""The file of calls and effects; set by the tests before they fork."""


def use(path: Path) -> None:
    """Let the tools act on another world."""
    global WORLD  # the tools are functions of this module
    WORLD = path


def note(line: str) -> None:
    with open(WORLD, "ab", buffering=0) as file:
        file.write(f"{line}\n".encode())


def lines(path: Path | None = None) -> Counter[str]:
    """How often each line was written."""
    path = path or WORLD
    return Counter(path.read_text().splitlines()) if path.exists() else Counter()


def act(key: str) -> None:
    """Change the world once more; a killed process may have no time to tell anybody."""
    note(f"act {key}")


@tool(price=PerCall("0.01"))
async def fetch(page: str) -> str:
    note("call fetch")
    return f"raw({page})"


@tool(price=PerCall("0.01"))
async def split(text: str) -> list[str]:
    note("call split")
    return ["a", "b", "c"]


@tool(price=PerCall("0.01"))
async def tag(text: str) -> str:
    note(f"call tag {text}")
    if text == "c":
        raise ValueError("no tag for c")
    return f"tag({text})"


@tool(price=PerCall("0.01"))
async def summarise(text: str) -> str:
    note(f"call summarise {text}")
    if text == "b" and lines()["call summarise b"] == 1:
        raise ValueError("busy")
    return f"sum({text})"


@tool(price=PerCall("0.01"), effects="read")
async def flaky(text: str) -> str:
    note("call flaky")
    if lines()["call flaky"] <= 2:
        raise ValueError("not now")
    return f"fact({text})"


@tool(price=PerCall("0.01"))
async def broken(text: str) -> str:
    note("call broken")
    raise ValueError("always")


@tool(price=PerCall("0.01"))
async def spare(text: str) -> str:
    note("call spare")
    return f"best({text})"


@tool(price=PerCall("0.01"))
async def score(text: str) -> float:
    note("call score")
    return 0.9


@tool(price=PerCall("0.01"))
async def enrich(text: str, fact: str) -> str:
    note("call enrich")
    return f"{text}+{fact}"


@tool(price=PerCall("0.01"), effects="write", key="key")
async def book(text: str, key: str | None = None) -> str:
    note("call book")
    if not lines()[f"act {key}"]:
        act(str(key))
    return "order"


@tool(price=PerCall("0.01"), effects="write")
async def send(text: str) -> str:
    note("call send")
    act("mail")
    return "sent(order)"


@tool(price=PerCall("0.01"), effects="write", key="key")
async def post(text: str, key: str | None = None) -> str:
    note(f"call post {text}")
    if not lines()[f"act {key}"]:
        act(str(key))
    return f"posted({text})"


@tool(price=PerCall("0.01"))
async def join(tags: list[str], sums: list[str], extra: str, plain: str, mail: str, posts: list[str]) -> str:
    note("call join")
    return "|".join([*tags, *sums, extra, plain, mail, *posts])


TOOLS = (fetch, split, tag, summarise, flaky, broken, spare, score, enrich, book, send, post, join)


def catalogue() -> Catalogue:
    return Catalogue(TOOLS)
