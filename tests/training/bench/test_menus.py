"""Menus and draws: what is offered, and that the logged probabilities are those of the draws."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from catp.training.bench.draft import Choice, Draft, draft_plan, slots_of
from catp.training.bench.families import FAMILIES
from catp.training.bench.menus import CHEAP, DEAR, Menu, draw_plans, offer, probability

MENU: Menu = {
    "clean": ((), ("denoise_median",), ("denoise_dct", "deblur_tv")),
    "reading": (("ocr_gocr",), ("ocr_rapid",)),
    "with_summary": (("keep",), ("skip",)),
}
PRICES = {"denoise_median": 1.0, "denoise_dct": 2.0, "deblur_tv": 3.0, "ocr_gocr": 1.0, "ocr_rapid": 9.0, "keep": 0.5}
CHEAPEST = {"clean": (), "reading": ("ocr_gocr",), "with_summary": ("skip",)}
DEAREST = {"clean": ("denoise_dct", "deblur_tv"), "reading": ("ocr_rapid",), "with_summary": ("keep",)}


def price(option: tuple[str, ...]) -> float:
    return sum(PRICES[name] for name in option)


def choices(menu: Menu) -> list[dict[str, tuple[str, ...]]]:
    return [dict(zip(menu, options, strict=True)) for options in itertools.product(*menu.values())]


def test_probabilities_of_all_plans_add_up_to_one() -> None:
    found = [probability(MENU, choice, CHEAPEST, DEAREST) for choice in choices(MENU)]
    assert math.isclose(sum(found), 1.0)
    assert min(found) > 0


def test_the_first_draw_comes_as_often_as_its_probability_says() -> None:
    drawn = [draw_plans(MENU, price, np.random.default_rng(seed), most=4)[0] for seed in range(4000)]
    counts = Counter(tuple(one.choice[slot] for slot in MENU) for one in drawn)
    expected = {tuple(c[slot] for slot in MENU): 4000 * probability(MENU, c, CHEAPEST, DEAREST) for c in choices(MENU)}
    # chi-square with 11 degrees of freedom: above 31.3 in one of a thousand seeds
    assert sum((counts[key] - mean) ** 2 / mean for key, mean in expected.items()) < 31.3
    assert all(one.propensity == probability(MENU, one.choice, CHEAPEST, DEAREST) for one in drawn)


def test_a_plan_has_the_probability_of_all_choices_that_make_it() -> None:
    """Below an output that is left out, what is chosen has no effect: 24 choices make 18 plans."""
    menu: Menu = {**MENU, "summary": (("summary_lead",), ("summary_frequency",))}

    def met(choice: Choice) -> set[str]:
        return set(menu) - ({"summary"} if choice["with_summary"] == ("skip",) else set())

    def costs(option: tuple[str, ...]) -> float:
        return sum(PRICES.get(name, 1.0) for name in option)

    drawn = draw_plans(menu, costs, np.random.default_rng(0), most=100, met=met)
    plans = {tuple(sorted((slot, one.choice[slot]) for slot in met(one.choice))): one.propensity for one in drawn}
    assert (len(drawn), len(plans)) == (24, 18)
    assert math.isclose(sum(plans.values()), 1.0)
    first = [draw_plans(menu, costs, np.random.default_rng(seed), most=4, met=met)[0] for seed in range(3000)]
    counts = Counter(tuple(sorted((slot, one.choice[slot]) for slot in met(one.choice))) for one in first)
    # chi-square with 17 degrees of freedom: above 40.8 in one of a thousand seeds
    assert sum((counts[plan] - 3000 * p) ** 2 / (3000 * p) for plan, p in plans.items()) < 40.8


def test_cheapest_and_dearest_are_named_and_all_plans_can_be_drawn() -> None:
    drawn = draw_plans(MENU, price, np.random.default_rng(0), most=100)
    assert len(drawn) == len(choices(MENU))
    named = {one.policy: one for one in drawn if one.policy != "uniform"}
    assert named["cheap+uniform"].choice == CHEAPEST
    assert named["dear+uniform"].choice == DEAREST
    assert named["cheap+uniform"].propensity == pytest.approx(CHEAP + (1 - CHEAP - DEAR) / 12)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: str(family.id))
def test_every_menu_has_a_plain_way_a_fitting_way_and_enough_plans(family: object) -> None:
    from catp.training.bench.families import Family

    assert isinstance(family, Family)
    slots = slots_of(family.types, family.plan)
    for seed, condition in enumerate(("clean", "noisy", "impulse", "blurred_noisy", "small")):
        menu = offer(slots, condition, np.random.default_rng(seed), chains=family.chains, readers=family.readers)
        assert math.prod(len(options) for options in menu.values()) >= 4
        for slot, options in menu.items():
            assert set(options) <= set(slots[slot])
            if len(slots[slot]) > 12:
                assert () in options
                assert len(options) == family.chains
        drawn = draw_plans(menu, lambda option: len(option), np.random.default_rng(seed), most=12)
        assert 4 <= len(drawn) <= 12
        for one in drawn:
            draft_plan(family.types, family.plan, one.choice)


def test_a_draft_names_slots_in_the_order_they_are_met() -> None:
    def plan(d: Draft) -> None:
        clean = d.restore("clean", "page", [(), ("denoise_median",)])
        d.out("text", f"{d.call('reading', ('ocr_gocr', 'ocr_rapid'), image=clean)}.text")

    assert list(slots_of({"page": "image"}, plan)) == ["clean", "reading"]
    chosen = draft_plan({"page": "image"}, plan, {"clean": ("denoise_median",), "reading": ("ocr_rapid",)})
    assert [str(step.attempts[0].tool) for step in chosen.steps] == ["denoise_median", "ocr_rapid"]
