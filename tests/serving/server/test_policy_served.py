"""The shipped policy behind HTTP writes the plans it writes in process, and streams steps it does not take back."""

import json
from collections.abc import Iterator

import pytest

from catp.planners.cheapest import cheapest_plans
from catp.planners.served import Running as Engine
from catp.planners.served import ServedWriter
from catp.planners.testing import small_request
from catp.planners.wire import request_form
from catp.serving.server.build import EngineOptions, build_backend
from catp.training.policy.writer import load_writer
from tests.serving.server.running import Running, running


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    backend = build_backend(EngineOptions("catp-tiny", threads=1, kv_memory=64 << 20))
    with running(backend) as found:
        yield found


@pytest.mark.parametrize("seed", [3, 4, 7])
async def test_the_same_plans_as_in_process(server: Running, seed: int) -> None:
    request = small_request(seed)
    shown = [cheap.priced.plan for cheap in cheapest_plans(request, 1)]
    writer = ServedWriter(Engine(server.url, "catp-tiny"))
    theirs = await writer.write(request, samples=2, shown=shown, seed=5)
    mine = await load_writer().write(request, samples=2, shown=shown, seed=5)
    assert [one.plan for one in theirs.written] == [one.plan for one in mine.written]
    assert [one.logprob for one in theirs.written] == pytest.approx([one.logprob for one in mine.written], abs=1e-3)
    for one, other in zip(theirs.rated, mine.rated, strict=True):
        assert one is not None
        assert other is not None
        assert one.quality == pytest.approx(other.quality, abs=1e-3)
    assert theirs.usage.price is not None
    assert theirs.usage.price > 0


def test_steps_are_decided_for_good(server: Running) -> None:
    ask = {**request_form(small_request(3)), "samples": 0, "stream": True}
    with server.client() as client, client.stream("POST", "/v1/plans", json=ask) as answer:
        assert answer.status_code == 200, answer.read()
        blocks = "".join(answer.iter_text()).strip().split("\n\n")
    events = [block.partition("\ndata: ")[::2] for block in blocks[:-1] if not block.startswith(":")]
    steps = [json.loads(data) for name, data in events if name == "event: step"]
    draft = json.loads(events[-1][1])
    greedy = draft["plans"][0]["plan"]["steps"]
    assert steps, events
    assert [step["step"] for step in steps if step["index"] == 0] == greedy[: len(steps)]
    assert draft["usage"]["prompt_tokens"] > 0
