"""Two processes (in accelerate's process group) do what one does with twice the accumulation."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.caorl.loop_making import Counting, Record, config, contents, save_model, tiny

ROOT = Path(__file__).resolve().parents[3]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def launch(out: Path, settings: Any) -> list[Any]:
    """Run in two CPU processes, told what torchrun tells them; return the figures, which only the first prints."""
    command = [sys.executable, "-m", "tests.training.caorl.loop_making", str(out), settings.model_dump_json()]
    told = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    told |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    started = [
        subprocess.Popen(
            command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | told | {"RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in "01"
    ]  # fmt: skip
    try:
        texts = [process.communicate(timeout=200) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert [process.returncode for process in started] == [0, 0], "\n".join(error[-3000:] for _, error in texts)
    assert not texts[1][0]
    return list(json.loads(texts[0][0].splitlines()[-1]))


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.skipif(sys.platform != "linux", reason="gloo over the loopback interface by its Linux name")
def test_two_processes_are_one_with_twice_the_accumulation(tmp_path: Path) -> None:
    from catp.training.caorl.loop import train

    optim = {"steps": 6}
    figures = launch(tmp_path / "two", config(optim=optim | {"accumulate": 1}))
    record = Record()
    train(
        Counting(), tiny(dropout=0.0), config(optim=optim | {"accumulate": 2}), tmp_path / "one",
        save_model=save_model, on_event=record,
    )  # fmt: skip
    alone = json.loads(json.dumps(record.figures))
    assert len(figures) == len(alone)
    for two, one in zip(figures, alone, strict=True):
        assert two[0] == one[0]
        if len(one) == 7:  # step, epoch, loss, parts, rate, norm, tokens
            assert two[2] == pytest.approx(one[2], rel=1e-5)
            assert (two[4], two[6]) == (one[4], one[6])
            assert two[5] == pytest.approx(one[5], rel=1e-4)
        else:
            assert two[1] == pytest.approx(one[1], rel=1e-4)
    both = [contents(tmp_path / name) for name in ("one", "two")]
    assert both[0].keys() == both[1].keys()
    state = json.loads(both[1]["last/state/state.json"])
    assert (state["processes"], state["epoch"], state["batch"]) == (2, 2, 0)
