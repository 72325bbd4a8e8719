"""Plans of any size, with the shapes that plans have: chains, branches, maps, guards, alternatives, shared inputs."""

import random

__all__ = ["SHAPES", "plan_text"]

SHAPES = ("random", "branches", "fan", "chain", "loose", "ladder")


def plan_text(
    steps: int, shape: str = "random", *, tools: tuple[str, ...] = ("short", "hostile"), seed: int = 1
) -> str:
    """Return the text of a plan of `steps` steps.

    random    each step reads one to three earlier ones, some have a guard, an alternative or run once per element
    branches  equal branches of four steps from one source, joined again
    fan       one step read by all others
    chain     each step reads the one before
    loose     no step reads another, each uses another tool in turn
    ladder    each step reads the two before it: nothing to put together but bands
    """
    rng = random.Random(seed)
    lines = ["in t: text", "in ts: list[text]"]
    for i in range(steps):
        tool = tools[i % len(tools)]
        lines.append(f"s{i} = {_call(i, shape, tool, rng, tools)}")
    return "\n".join([*lines, f"out s{steps - 1}", ""])


def _call(i: int, shape: str, tool: str, rng: random.Random, tools: tuple[str, ...]) -> str:
    if i == 0 or shape == "loose":
        return f"{tool}(t)"
    if shape == "chain":
        return f"{tool}(s{i - 1})"
    if shape == "fan":
        return f"{tools[0]}(s0)"
    if shape == "branches":
        return f"{tools[i % len(tools)]}({'s0' if i % 4 == 1 else f's{i - 1}'})"
    if shape == "ladder":
        return f'{tool}(t"{{s{i - 1}}} {{s{max(0, i - 2)}}}")'
    reads = sorted({max(0, i - 1 - int(rng.expovariate(1 / 12))) for _ in range(rng.choice((1, 1, 2, 3)))})
    text = " ".join(f"{{s{j}}}" for j in reads)
    call = "short(each ts)" if i % 17 == 3 else f't"{text}"'
    call = call if i % 17 == 3 else f"{tool}({call})"
    if i % 11 == 5:
        call += f" | {tools[(i + 1) % len(tools)]}(s{reads[0]})"
    if i % 23 == 7:
        call += f' when s{reads[0]} != ""'
    return call
