"""What the demo's agents are asked for, the plans they know for it, and the planners that choose between these."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from catp.planlang.money import Money
from catp.planlang.nodes import Plan
from catp.planlang.parser import parse
from catp.planners.pricing import priced
from catp.planners.protocol import Candidate, NothingFits, PlanRequest, Proposal
from catp.planners.repair import RepairRequest, repair_by_search
from catp.planners.search import SearchPlanner

__all__ = ["ASKING", "COUNTING", "JOBS", "LIVE", "Chooser", "Job"]

_PLANNING = Money(120_000)
"""What a planner of the demo asks for its work: $0.00012."""


@dataclass(frozen=True, slots=True)
class Job:
    """A task with its usual limits, and the plans that are known for it, each with its predicted quality."""

    project: str
    agent: str
    task: str
    input: str
    budget: str
    deadline_s: float
    plans: tuple[tuple[float, str], ...]


_RESTORE = (
    (0.61, """plan restore_quick "Cleans an old photo and says what it shows"
in photo: image
clean = demo.denoise_fast(photo)
colour = demo.colourise(clean)
about = demo.caption_small(colour)
out photo = colour, caption = about.text
"""),
    (0.78, """plan restore_well "Restores an old photo and says what it shows"
in photo: image
clean = demo.denoise_fast(photo)
colour = demo.colourise(clean)
large = demo.upscale(colour) @retry(1)
about = demo.caption_large(colour) | demo.caption_small(colour) @retry(1, backoff=500ms)
out photo = large, caption = about.text
"""),
    (0.87, """plan restore_best "Restores an old photo as well as it can be done"
in photo: image
clean = demo.denoise_deep(photo)
colour = demo.colourise(clean)
large = demo.upscale(colour) @retry(1)
about = demo.caption_large(colour) @retry(2, backoff=500ms)
things = demo.caption_large(large) @retry(1)
report = demo.compose("Restored photo", [about.text, things.text])
out photo = large, caption = about.text, report?
"""),
)  # fmt: skip

_READ = (
    (0.69, """plan read_quick "Reads a card and tells its mood"
in scan: image
page = demo.ocr(scan) @retry(1)
tongue = demo.language(page.text)
mood = demo.sentiment(page.text)
out text = page.text, language = tongue.code, mood = mood.label
"""),
    (0.83, """plan read_clean "Cleans and reads a card, translates and sums it up"
in scan: image
clean = demo.denoise_fast(scan)
page = demo.ocr(clean) if .confidence >= 0.7 | demo.ocr(scan) @retry(1)
tongue = demo.language(page.text)
local = demo.translate(page.text, to="en") when tongue.code != "en"
mood = demo.sentiment(page.text)
short = demo.summarise(page.text)
out text = page.text, translation = local.text?, mood = mood.label, summary = short.text?
"""),
    (0.90, """plan read_well "Reads a card as well as it can be done"
in scan: image
clean = demo.denoise_deep(scan)
page = demo.ocr(clean) @retry(2, backoff=300ms)
tongue = demo.language(page.text)
local = demo.translate(page.text, to="en")
mood = demo.sentiment(local.text)
short = demo.summarise(local.text)
report = demo.compose("Card", [page.text, local.text, short.text])
out report, translation = local.text, mood = mood.label, summary = short.text
"""),
)  # fmt: skip

_SURVEY = (
    (0.66, """plan survey_quick "Describes a card tile by tile"
in card: image
parts = demo.tiles(card)
seen = demo.caption_small(each parts) @quorum(0.6)
report = demo.compose("Survey of one card", seen.text, style="list")
out report
"""),
    (0.81, """plan survey_well "Describes a card and its tiles, with a list of what is on it"
in card: image
clean = demo.denoise_fast(card)
parts = demo.tiles(clean)
seen = demo.caption_small(each parts) @quorum(0.6)
whole = demo.caption_large(clean) @retry(1, backoff=500ms)
report = demo.compose(whole.text, seen.text, style="list")
out report, caption = whole.text
"""),
    (0.88, """plan survey_best "Describes a card and its tiles in full words"
in card: image
clean = demo.denoise_deep(card)
parts = demo.tiles(clean)
seen = demo.caption_large(each parts) @quorum(0.6) @retry(1)
whole = demo.caption_large(clean) @retry(1, backoff=500ms)
report = demo.compose(whole.text, seen.text, style="list")
out report, caption = whole.text
"""),
)  # fmt: skip

JOBS = (
    Job("demo-archive", "restorer", "Restore this old photo and say what it shows", "photo", "0.12", 18.0, _RESTORE),
    Job("demo-postcards", "reader", "Read this card, translate it and tell its mood", "scan", "0.06", 12.0, _READ),
    Job("demo-survey", "surveyor", "Describe this card tile by tile in a report", "card", "0.19", 10.0, _SURVEY),
)
"""What most of the runs are."""

COUNTING = """plan count_things "Lists what is on a card; one of its tools has no price"
in card: image
clean = demo.denoise_fast(card)
things = demo.objects(clean)
about = demo.caption_small(clean)
out things = things.items, caption = about.text
"""

ASKING = """plan publish_card "Reads a card and puts its translation up, if somebody agrees"
in scan: image
clean = demo.denoise_fast(scan)
page = demo.ocr(clean)
local = demo.translate(page.text, to="en")
mood = demo.sentiment(local.text)
link = demo.publish(local.text) @approve
out address = link, mood = mood.label
"""

LIVE = """plan photo_and_card "Restores a photo, reads the card that came with it, and writes a report about both"
in photo: image
in scan: image
clean = demo.denoise_fast(photo)
colour = demo.colourise(clean)
large = demo.upscale(colour)
parts = demo.tiles(colour)
seen = demo.caption_small(each parts)
about = demo.caption_large(colour) @retry(2, backoff=400ms)
page_clean = demo.denoise_deep(scan)
page = demo.ocr(page_clean)
local = demo.translate(page.text, to="en")
mood = demo.sentiment(local.text)
short = demo.summarise(local.text)
report = demo.compose(about.text, [local.text, short.text], style="list")
out photo = large, report, mood = mood.label, tiles = seen.text
"""
"""Twelve steps in two branches that meet in a report."""

_BOOK: Mapping[str, tuple[tuple[float, str], ...]] = {job.task: job.plans for job in JOBS}


class Chooser(SearchPlanner):
    """Weighs the plans it knows for a task; searches for tasks it does not know, and when a run must be repaired.

    Args:
        name: What the record calls it.
        alpha: How much quality counts for it, whatever it is asked for; None as it is asked.
    """

    def __init__(self, name: str, alpha: float | None = None) -> None:
        super().__init__()
        self.name = name
        self._alpha = alpha

    async def plan(self, request: PlanRequest) -> Proposal:
        """Return the plans that fit, best first."""
        known = _BOOK.get(request.task)
        if known is None:
            return await self._search(request)
        alpha = request.objective.alpha if self._alpha is None else self._alpha
        fitting = [(quality, found) for quality, text in known if (found := priced(parse(text), request)) is not None]
        if not fitting:
            raise NothingFits(f"none of {len(known)} plans fits the budget and the deadline", "budget")
        scale = max(found.expected for _, found in fitting)
        candidates = [
            Candidate(found.plan, found.price, found.latency, quality,
                      round(alpha * quality - (1 - alpha) * found.expected / scale, 6))
            for quality, found in fitting
        ]  # fmt: skip
        best_first = sorted(candidates, key=lambda candidate: -candidate.utility)
        return Proposal(tuple(best_first[: request.candidates]), exact=True, price=_PLANNING)

    async def repair(self, request: RepairRequest) -> tuple[Plan, ...]:
        """Search for another way, also for a task it knows plans for: these have failed."""
        return await repair_by_search(request, self._search)

    async def _search(self, request: PlanRequest) -> Proposal:
        """Search at a price that does not depend on how busy this machine is."""
        return replace(self.search(request), price=_PLANNING)
