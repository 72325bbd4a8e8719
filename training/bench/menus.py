"""Which plans are measured for an input: a menu of tools offered, and plans drawn from it with known probability.

The whole space of a family can hold ten thousand plans. An input is offered a part: no restoration, two that fit what a
look at it says, and others at random; and some of the readers. From this menu plans are drawn by a mixture of three
policies, and the probability of every plan under the mixture is logged with it:

    cheap     the cheapest tool in every slot
    dear      the dearest tool in every slot
    uniform   every slot by itself, uniformly
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from catp.training.bench.draft import SKIP, Choice, Option

__all__ = ["Drawn", "Menu", "draw_plans", "offer", "probability"]

Menu = dict[str, tuple[Option, ...]]
"""Slots and the options offered for each."""

CHEAP, DEAR, UNIFORM = 0.15, 0.15, 0.7
"""The mixture."""

_FIT: Mapping[str, tuple[Option, ...]] = {
    "clean": (("denoise_median",),),
    "noisy": (("denoise_bilateral",), ("denoise_dct",), ("denoise_wavelet",), ("denoise_nlm",)),
    "very_noisy": (("denoise_dct",), ("denoise_dct_fine",), ("denoise_nlm",), ("denoise_wavelet",)),
    "impulse": (("denoise_median",), ("denoise_median", "deblur_unsharp"), ("denoise_median", "deblur_tv")),
    "blurred": (("deblur_unsharp",), ("deblur_tv",), ("deblur_rl30",), ("deblur_rl10",)),
    "blurred_noisy": (
        ("denoise_dct",), ("denoise_dct", "deblur_rl10"), ("denoise_dct", "deblur_rl30"),
        ("denoise_bilateral", "deblur_tv"), ("denoise_bilateral",),
    ),
    "small": (("upscale_lanczos",), ("upscale_backproject",), ("upscale_bicubic",),
              ("upscale_lanczos", "deblur_unsharp")),
}  # fmt: skip
"""Restorations that fit a condition, by what the tools are for."""


@dataclass(frozen=True)
class Drawn:
    """One drawn plan: its choice, its probability in a single draw, and which policies may have drawn it."""

    choice: Choice
    propensity: float
    policy: str


def offer(
    slots: Mapping[str, Sequence[Option]], condition: str, random: np.random.Generator, *, chains: int, readers: int
) -> Menu:
    """Return the menu of one input: `chains` restorations of long slots and `readers` readers, all of the others."""
    menu: Menu = {}
    for slot, options in slots.items():
        if len(options) > 12:
            menu[slot] = _some_chains(options, condition, random, chains)
        elif options[0] == ("ocr_gocr",) and len(options) > readers:
            kept = sorted(int(place) for place in random.choice(len(options), readers, replace=False))
            menu[slot] = tuple(options[place] for place in kept)
        else:
            menu[slot] = tuple(options)
    return menu


def _some_chains(
    options: Sequence[Option], condition: str, random: np.random.Generator, count: int
) -> tuple[Option, ...]:
    """No restoration, up to two that fit, the rest at random; in the order of the slot."""
    fitting = [option for option in _FIT.get(condition, ()) if option in options]
    chosen = {()} | {fitting[int(place)] for place in random.permutation(len(fitting))[: max(1, count - 2)]}
    for place in random.permutation(len(options)):
        if len(chosen) < count:
            chosen.add(options[int(place)])
    return tuple(option for option in options if option in chosen)


def draw_plans(
    menu: Menu,
    price: Callable[[Option], float],
    random: np.random.Generator,
    *,
    most: int,
    least: int = 4,
    met: Callable[[Choice], Collection[str]] | None = None,
) -> list[Drawn]:
    """Draw until `most` different choices are found, or all there are; the first is one honest draw of the mixture.

    Args:
        menu: What is offered.
        price: Ranks options: the expected price of the tools in it.
        random: Source of the draws.
        most: How many.
        least: At least so many, if there are.
        met: The slots that a choice's plan really has; all by default. Below an output that is left out there are slots
            without effect: choices that differ only there make one plan, whose probability is that of all of them.
    """
    met = met or (lambda choice: menu)
    cheap = {slot: min(options, key=lambda option: (_cost(option, price), option)) for slot, options in menu.items()}
    dear = {slot: max(options, key=lambda option: (_cost(option, price), option)) for slot, options in menu.items()}
    rules = {name: {slot: rule[slot] for slot in met(rule)} for name, rule in (("cheap", cheap), ("dear", dear))}
    size = math.prod(len(options) for options in menu.values())
    wanted = min(size, max(least, most))
    found: dict[tuple[Option, ...], Drawn] = {}
    while len(found) < wanted:
        dice = random.random()
        choice = cheap if dice < CHEAP else dear if dice < CHEAP + DEAR else _uniform(menu, random)
        key = tuple(choice[slot] for slot in menu)
        if key not in found:
            plan = {slot: choice[slot] for slot in met(choice)}
            names = [name for name, rule in rules.items() if plan == rule]
            chance = probability(menu, plan, rules["cheap"], rules["dear"])
            found[key] = Drawn(choice, chance, "+".join([*names, "uniform"]))
    return list(found.values())


def probability(menu: Menu, plan: Choice, cheap: Choice, dear: Choice) -> float:
    """The probability that one draw of the mixture gives `plan`: what stands in each slot that it has."""
    even = math.prod(1 / len(menu[slot]) for slot in plan)
    return CHEAP * (plan == cheap) + DEAR * (plan == dear) + UNIFORM * even


def _uniform(menu: Menu, random: np.random.Generator) -> dict[str, Option]:
    return {slot: options[int(random.integers(len(options)))] for slot, options in menu.items()}


def _cost(option: Option, price: Callable[[Option], float]) -> float:
    return -1.0 if option == SKIP else price(option)
