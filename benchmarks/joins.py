"""The tools that join values, on material with known answers: price, time, memory and accuracy.

    .venv/bin/python benchmarks/joins.py [--quick] [--ship]

Votes are over twelve damaged pages, each read in four ways (three readers, with and without a median filter); every
two of the four readings make a case, scored by characters right and shown beside the mean and the better of the two.
Tallies are given what VADER said of real opinions. The other joins run on sentences and articles of the zoo. Prints
the table and writes benchmarks/results/joins.json and joins.md. `--ship` also replaces datasets/profiles/joins.json.
Full run: one to three minutes.
"""

import argparse
import asyncio
import itertools
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from catp.tools.bench import BenchReport
from catp.tools.bench.cases import Case
from catp.tools.bench.damage import Damage, blurred, noisy, specked
from catp.tools.bench.metrics import character_accuracy
from catp.tools.bench.pages import render
from catp.tools.bench.texts import articles, load, misread
from catp.tools.builtin.denoise import denoise_median
from catp.tools.builtin.ocr import ocr_rapid, ocr_rapid_lines, ocr_tesseract
from catp.tools.builtin.prose import sentences
from catp.tools.builtin.records import Reading
from catp.tools.builtin.sentiment import sentiment_vader
from catp.tools.catalogue import Catalogue
from catp.tools.profile import ProfileBook
from catp.tools.sizes import input_units, size_of
from catp.tools.spec import ToolSpec
from catp.training.bench.joins import TOOLS
from catp.training.bench.joins_records import Combined, Match, Tally

HERE = Path(__file__).parent
SHIPPED = HERE.parent / "datasets" / "profiles" / "joins.json"
LARGE = 3
"""Texts of the largest cases are this many articles long."""

DAMAGES: tuple[Damage, ...] = (
    noisy(45), noisy(65), noisy(80), specked(0.10, 1.3), specked(0.12, 1.0), specked(0.06, 1.6),
    blurred(2.2), blurred(2.6), blurred(1.8, 15), blurred(2.0, 20), noisy(30), specked(0.08),
)  # fmt: skip

PARAPHRASES: tuple[tuple[str, str], ...] = (
    ("The ferry leaves at noon from the north pier.", "At noon the ferry departs from the northern pier."),
    ("Sales rose by a tenth last year.", "Last year sales grew ten percent."),
    ("The museum is closed on Mondays.", "On Mondays the museum does not open."),
    ("Our new engine uses half the fuel of the old one.", "The old engine burned twice as much fuel as the new one."),
    ("The doctor advised him to rest for a week.", "He was told by the physician to rest for seven days."),
    (
        "Heavy rain flooded the streets of the old town.",
        "The streets of the old town were under water after heavy rainfall.",
    ),
    ("The company will hire forty engineers this spring.", "Forty engineers will be hired by the firm in spring."),
    ("She bought a used bicycle for her son.", "She purchased a second-hand bike for her boy."),
    ("The bridge was repaired and is open to traffic again.", "Traffic can cross the bridge again after its repair."),
    ("Prices of houses fell sharply in the capital.", "In the capital, house prices dropped steeply."),
)
OTHERS: tuple[tuple[str, str], ...] = (
    ("The museum is closed on Mondays.", "The library opens at nine on Tuesdays."),
    ("Our new engine uses half the fuel of the old one.", "The engine of the old train broke down on the bridge."),
    ("The doctor advised him to rest for a week.", "The lawyer asked her to sign within a month."),
    ("Heavy rain flooded the streets of the old town.", "Dry weather ruined the wheat harvest in the south."),
    ("The company will hire forty engineers this spring.", "The company lost four contracts last autumn."),
    ("She bought a used bicycle for her son.", "He sold his old boat to a neighbour."),
    ("The bridge was repaired and is open to traffic again.", "The tunnel will stay closed until the end of May."),
    ("Prices of houses fell sharply in the capital.", "Prices of coffee rose slowly on world markets."),
    ("The ferry leaves at noon from the north pier.", "The train leaves at seven from the central station."),
    ("The old mill was turned into a small theatre.", "The young actor turned down a big role."),
)
"""Pairs of sentences that say the same, and that do not; the thresholds of the matching tools were chosen on these."""


@dataclass
class Votes:
    """What the readings and the votes scored, each vote beside the readings it was over."""

    mean: list[float] = field(default_factory=list)
    best: list[float] = field(default_factory=list)


def vote_cases(quick: bool, votes: Votes) -> Iterator[Case]:
    """Every two of four readings of each page, chosen by none of the tools under test."""
    random = np.random.default_rng(23)
    for place, damage in enumerate(DAMAGES[: 2 if quick else None]):
        truth = articles()[place % len(articles())].text
        font = ("DejaVuSans.ttf", "DejaVuSerif.ttf")[place % 2]
        page = damage(render(truth, size=(18, 16, 20)[place % 3], font=font), random)
        cleaned = denoise_median(page)
        ways = [(ocr_rapid, cleaned), (ocr_rapid_lines, page), (ocr_tesseract, cleaned), (ocr_rapid, page)]
        readings = [reader(image) for reader, image in ways if reader.spec.unavailable() is None]
        right = [character_accuracy(reading.text, truth) for reading in readings]
        for a, b in itertools.combinations(range(len(readings)), 2):
            votes.mean.append((right[a] + right[b]) / 2)
            votes.best.append(max(right[a], right[b]))
            args = {"first": readings[a], "second": readings[b]}
            yield Case("vote", args, ("plain", ""), partial(_read, truth))
        yield Case("vote", {"first": Reading(truth * LARGE, 0.9), "second": Reading(misread(truth * LARGE), 0.8)}, (),
                   partial(_read, truth * LARGE))  # fmt: skip


def combine_cases(quick: bool) -> Iterator[Case]:
    """Articles cut in parts, with and without a sentence that stands at the end of one and the start of the next."""
    for article in articles()[: 2 if quick else None]:
        parts = sentences(article.text)
        for cut in (1, 2):
            for overlap in (0, 1):
                first, second = " ".join(parts[: cut + overlap]), " ".join(parts[cut:])
                yield Case("combine", {"first": first, "second": second}, ("plain", ""), partial(_whole, article.text))
        pieces = [" ".join(parts[i : i + 2]) for i in range(len(parts) - 1)]
        yield Case("combine", {"parts": pieces}, ("plain", ""), partial(_whole, article.text))
        yield Case("combine", {"parts": parts * LARGE}, (), lambda found: 1.0)


def tally_cases(quick: bool) -> Iterator[Case]:
    """Opinions of which most agree; the tallies are given what VADER said of each."""
    random = np.random.default_rng(29)
    by_label: dict[str, list[str]] = {}
    for entry in load("sentiment"):
        by_label.setdefault(entry["label"], []).append(entry["text"])
    kinds = sorted(by_label)
    for number in range(4 if quick else 60):
        wanted = kinds[number % len(kinds)]
        rest = [kind for kind in kinds if kind != wanted]
        size = int(random.integers(3, 9))
        texts = [str(random.choice(by_label[wanted])) for _ in range(size)]
        texts += [str(random.choice(by_label[rest[i % 2]])) for i in range(int(random.integers(0, size)))]
        judged = [sentiment_vader(text) for text in texts]
        score = partial(_tally, wanted)
        yield Case("tally", {"labels": [found.label for found in judged]}, ("plain", ""), score)
        yield Case("tally", {"scores": [found.score for found in judged]}, ("plain", ""), score)


def match_cases(quick: bool) -> Iterator[Case]:
    """Paraphrases, misreadings, and pairs that only resemble each other."""
    step = slice(None, None, 5 if quick else 1)
    misread_pairs = tuple((one, misread(one)) for one, _ in (*PARAPHRASES, *OTHERS))
    for same, label, pairs in (
        (True, "paraphrase", PARAPHRASES), (True, "misread", misread_pairs), (False, "different", OTHERS),
    ):  # fmt: skip
        for first, second in pairs[step]:
            score = partial(_same, same)
            yield Case("match", {"first": first, "second": second}, (label, ""), score)
    for one, two in itertools.pairwise(articles()[: 2 if quick else None]):
        yield Case("match", {"first": one.text, "second": two.text}, ("different", ""), partial(_same, False))
        yield Case("match", {"first": one.text, "second": misread(one.text)}, ("misread", ""), partial(_same, True))
        yield Case("match", {"first": one.text * LARGE, "second": two.text * LARGE}, (), partial(_same, False))


async def measure(quick: bool) -> tuple[BenchReport, str]:
    """Run every case through the real backends, one call at a time; also say how the votes fared."""
    catalogue = Catalogue(TOOLS).available()
    profiles, votes, started = ProfileBook(), Votes(), time.monotonic()
    cold: set[str] = set()
    cases = (*vote_cases(quick, votes), *combine_cases(quick), *tally_cases(quick), *match_cases(quick))
    try:
        for case in cases:
            for spec in catalogue:
                if spec.capability == case.capability and {p.name for p in spec.signature.params} == set(case.args):
                    await _measured(spec, case, profiles, cold)
    finally:
        await catalogue.close()
    report = BenchReport(
        catalogue.with_profiles(profiles), tuple(spec.name for spec in catalogue), time.monotonic() - started, quick
    )
    return report, _votes(report, votes)


async def _measured(spec: ToolSpec, case: Case, profiles: ProfileBook, cold: set[str]) -> None:
    if spec.name not in cold:  # its first call pays a whole cold start, whoever shares its workers
        cold.add(spec.name)
        await spec.backend.close()
    size = input_units({name: size_of(value) for name, value in case.args.items()})
    done = await spec.backend.call(case.args, timeout=spec.limits.timeout_s)
    profiles.observe(spec.name, done.usage, version=spec.version, size=size, output=size_of(done.value))
    for condition in case.conditions:
        profiles.score(spec.name, case.score(done.value), version=spec.version, condition=condition)


def _votes(report: BenchReport, votes: Votes) -> str:
    mean, best = (sum(scores) / len(scores) for scores in (votes.mean, votes.best))
    found = {row.tool: row.by_condition["plain"] for row in report.rows if row.capability == "vote"}
    named = ", ".join(f"{name} {score:.4f}" for name, score in sorted(found.items()))
    return f"votes over {len(votes.mean)} pairs of readings: {named}; the readings {mean:.4f}, the better {best:.4f}"


def _read(truth: str, found: Reading) -> float:
    return character_accuracy(found.text, truth)


def _whole(truth: str, found: Combined) -> float:
    return float(" ".join(found.text.split()) == truth)


def _tally(wanted: str, found: Tally) -> float:
    return float(found.label == wanted)


def _same(same: bool, found: Match) -> float:
    return float(found.same == same)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the cases")
    parser.add_argument("--ship", action="store_true", help="replace the profiles that come with the product")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    report, votes = asyncio.run(measure(options.quick))
    loads = {"load_before": round(before, 2), "load_after": round(os.getloadavg()[0], 2)}
    print(f"{report.table()}\n\n{votes}")
    out = HERE / "results"
    out.mkdir(exist_ok=True)
    results: dict[str, Any] = {**report.to_json(), "votes": votes, **loads}
    (out / "joins.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (out / "joins.md").write_text(f"{report.table()}\n\n{votes}\n", encoding="utf-8")
    if options.ship:
        report.profiles.save(SHIPPED)
        SHIPPED.chmod(0o644)
    print(f"{len(report.rows)} tools in {report.seconds:.0f} s")


if __name__ == "__main__":
    main()
