"""Running the bench: every case through every rival's real backend, one call at a time.

Calls are never concurrent, so that one tool's memory and cache misses are not charged to another.
"""

import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

from PIL import Image

from catp.tools.bench.cases import IMAGE, Case
from catp.tools.bench.pages import page_cases
from catp.tools.bench.pictures import picture_cases
from catp.tools.bench.report import BenchReport
from catp.tools.bench.texts import text_cases
from catp.tools.catalogue import Catalogue
from catp.tools.errors import ToolError
from catp.tools.profile import ProfileBook
from catp.tools.sizes import input_units, size_of
from catp.tools.spec import ToolSpec

__all__ = ["Progress", "run"]

Progress = Callable[[int, int, str], None]
"""Called with cases done, cases in all, and the capability at work."""


async def run(
    catalogue: Catalogue, capabilities: Collection[str] | None = None, *, quick: bool = False,
    progress: Progress | None = None,
) -> BenchReport:  # fmt: skip
    """Measure the tools of `catalogue` that the bench has cases for; leaves idle workers to the caller.

    Args:
        catalogue: Tools that cannot run here are left out.
        capabilities: Only these; default all.
        quick: About a tenth of the cases: good for prices, rough for accuracy.
        progress: Told after every case.
    """
    usable = catalogue.available()
    rivals: dict[str, list[ToolSpec]] = {}
    for spec in usable:
        if capabilities is None or spec.capability in capabilities:
            rivals.setdefault(spec.capability, []).append(spec)
    cases = [case for case in _cases(quick, set(rivals)) if case.capability in rivals]
    bench = _Bench(usable)
    started = time.monotonic()
    for number, case in enumerate(cases):
        await bench.measure(case, rivals[case.capability])
        if progress is not None:
            progress(number + 1, len(cases), case.capability)
    names = [spec.name for specs in rivals.values() for spec in specs]
    return BenchReport(usable.with_profiles(bench.profiles), tuple(names), time.monotonic() - started, quick)


def _cases(quick: bool, wanted: set[str]) -> Iterator[Case]:
    yield from text_cases(quick)
    if wanted & {"denoise", "deblur", "upscale", "codes", "faces", "image_stats", "estimate_noise"}:
        yield from picture_cases(quick)
    if "ocr" in wanted:
        yield from page_cases(quick)


class _Bench:
    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._started: set[str] = set()
        self.profiles = ProfileBook()

    async def measure(self, case: Case, rivals: list[ToolSpec]) -> None:
        for chain in ((), *case.chains):
            args = dict(case.args)
            suffix = "".join(f"/{name}" for name in chain)
            if chain:
                restored = await self._restored(args[IMAGE], chain)
                if restored is None:
                    continue
                args[IMAGE] = restored
            for spec in rivals:
                result = await self._call(spec, args)
                score = 0.0 if result is None else case.score(result)
                for condition in case.conditions:
                    self.profiles.score(spec.name, score, version=spec.version, condition=condition + suffix)

    async def _restored(self, image: Image.Image, chain: tuple[str, ...]) -> Image.Image | None:
        for name in chain:
            if name not in self._catalogue:
                return None
            result = await self._call(self._catalogue.get(name), {IMAGE: image})
            if result is None:
                return None
            image = result
        return image

    async def _call(self, spec: ToolSpec, args: dict[str, Any]) -> Any:
        if spec.name not in self._started:  # its first call pays a whole cold start, whoever shares its workers
            self._started.add(spec.name)
            await spec.backend.close()
        size = input_units({name: size_of(value) for name, value in args.items()})
        try:
            done = await spec.backend.call(args, timeout=spec.limits.timeout_s)
        except ToolError as error:
            self.profiles.observe(spec.name, error.usage, version=spec.version, size=size, failed=True)
            return None
        self.profiles.observe(spec.name, done.usage, version=spec.version, size=size, output=size_of(done.value))
        return done.value
