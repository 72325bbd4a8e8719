import gzip
import json
from pathlib import Path

import pytest

from catp.serving.sim.synthetic import plans
from catp.serving.sim.traces import MOONCAKE_BLOCK, Trace, TraceError, read_trace

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def azure(folder: Path, kind: str, rows: str, *, packed: bool = False) -> Path:
    path = folder / f"AzureLLMInferenceTrace_2023_{kind}.csv{'.gz' if packed else ''}"
    data = (HEADER + rows).encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


def mooncake(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_azure_files_of_a_folder_are_merged_by_time(tmp_path: Path) -> None:
    azure(tmp_path, "conv", "2023-11-16 18:15:01.5000000,10,3\n2023-11-16 18:15:00.0000000,20,7\n", packed=True)
    azure(tmp_path, "code", "2023-11-16 18:15:01.0000000,30,0\n")
    trace = read_trace(tmp_path)
    found = [(one.at, one.prompt_tokens, one.output, one.bound, one.kind) for one in trace.arrivals]
    assert found == [(0.0, 20, 7, 7, "conv"), (1.0, 30, 1, 1, "code"), (1.5, 10, 3, 7, "conv")]
    prompts = [one.prompt() for one in trace.arrivals]
    assert [len(prompt) for prompt in prompts] == [20, 30, 10]
    assert len({prompt[0] for prompt in prompts}) == 3, "requests of this trace share no prefix"


def test_mooncake_prompts_share_what_their_hashes_share(tmp_path: Path) -> None:
    block = MOONCAKE_BLOCK
    rows = (
        {"timestamp": 2000, "input_length": 2 * block + 5, "output_length": 9, "hash_ids": [4, 7, 9]},
        {"timestamp": 500, "input_length": 2 * block, "output_length": 4, "hash_ids": [4, 8]},
    )
    first, second = read_trace(mooncake(tmp_path / "m.jsonl", *rows)).arrivals
    assert (first.at, second.at, first.bound, second.output) == (0.0, 1.5, 9, 9)
    assert len(second.prompt()) == 2 * block + 5
    same = [a == b for a, b in zip(first.prompt(), second.prompt(), strict=False)]
    assert same == [True] * block + [False] * block


def test_stretching_keeps_order_and_proportions() -> None:
    trace = plans(3, 200, rate=4.0)
    slow = trace.at_rate(1.5)
    assert slow.rate == pytest.approx(1.5)
    factor = slow.arrivals[-1].at / trace.arrivals[-1].at
    assert [one.at for one in slow.arrivals] == pytest.approx([one.at * factor for one in trace.arrivals])


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("Azure_x.csv", HEADER + "2023-11-16 18:15:00,ten,3\n", "line 2"),
        ("Azure_x.csv", "a,b\n1,2\n", "ContextTokens"),
        ("Azure_x.csv", HEADER, "fewer than two"),
        ("m.jsonl", '{"timestamp": 0}\n', "line 1"),
        ("m.jsonl", '{"timestamp": 0, "input_length": 600, "output_length": 1, "hash_ids": [1]}\n', "1 hashes"),
        ("m.txt", "", "must end in"),
    ],
)
def test_broken_traces_say_where_and_why(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(TraceError, match=said):
        read_trace(tmp_path / name)


def test_requests_that_come_at_once_have_no_rate(tmp_path: Path) -> None:
    row = {"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": [1]}
    trace = read_trace(mooncake(tmp_path / "m.jsonl", row, row))
    with pytest.raises(TraceError, match="at once"):
        trace.at_rate(1.0)


def test_missing_traces(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="does not exist"):
        read_trace(tmp_path / "none.csv")
    with pytest.raises(TraceError, match="no file"):
        read_trace(tmp_path)


def counts(trace: Trace, seconds: float) -> list[int]:
    found = [0] * (int(trace.arrivals[-1].at / seconds) + 1)
    for one in trace.arrivals:
        found[int(one.at / seconds)] += 1
    return found


def test_plans_share_catalogues_and_keep_their_bound() -> None:
    trace = plans(1, 2000, rate=10.0, catalogues=4)
    assert trace == plans(1, 2000, rate=10.0, catalogues=4)
    assert trace.rate == pytest.approx(10.0, rel=0.1)
    assert {one.prompt_tokens for one in trace.arrivals} == {1100}
    assert len({one.prompt()[:1000] for one in trace.arrivals}) == 4
    assert len({one.prompt() for one in trace.arrivals}) == 2000
    assert all(10 <= one.output <= one.bound == 80 for one in trace.arrivals)


def test_bursts_have_more_variance_than_poisson_at_the_same_rate() -> None:
    def dispersion(trace: Trace) -> float:
        found = counts(trace, 5.0)[:-1]
        mean = sum(found) / len(found)
        return sum((one - mean) ** 2 for one in found) / len(found) / mean

    even, bursty = plans(2, 6000), plans(2, 6000, burst=5.0)
    assert bursty.rate == pytest.approx(even.rate, rel=0.15)
    assert dispersion(even) < 1.5
    assert dispersion(bursty) > 5.0


def test_public_traces(shared_traces: Path) -> None:
    merged = read_trace(shared_traces)
    assert len(merged.arrivals) == 19_366 + 8_819
    for kind, prompt, output in (("conv", 1194, 237), ("code", 2038, 28)):  # published means of the first 8000
        mine = [one for one in merged.arrivals if one.kind == kind][:8000]
        assert sum(one.prompt_tokens for one in mine) / len(mine) == pytest.approx(prompt, rel=0.01)
        assert sum(one.output for one in mine) / len(mine) == pytest.approx(output, rel=0.02)
    assert len(read_trace(shared_traces / "mooncake_fast25_conversation_trace.jsonl.gz").arrivals) == 12_031
