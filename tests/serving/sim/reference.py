"""The same replica once more, as a plain loop over steps: one sequence per request, first come, first served.

Nothing of it is shared with what it checks but the model of step times: memory is a number of blocks, a prompt a number
of tokens, and nobody is preempted (there must be memory for that).
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from catp.serving.policies.costmodel import Load
from catp.serving.sim.profiles import StepTime
from catp.serving.sim.workload import Task


@dataclass
class Sequence_:
    number: int
    prompt: int
    output: int
    done: int = 0
    made: int = 0


def served_one_by_one(
    tasks: Sequence[Task], times: StepTime, budget: int, sequences: int
) -> dict[int, tuple[float, float]]:
    """Return (first token, end) of each task."""
    coming = deque(tasks)
    waiting: deque[Sequence_] = deque()
    running: list[Sequence_] = []
    first: dict[int, float] = {}
    ends: dict[int, float] = {}
    now = 0.0
    while coming or waiting or running:
        while coming and coming[0].arrival.at <= now:
            task = coming.popleft()
            waiting.append(Sequence_(task.number, task.arrival.prompt_tokens, task.arrival.output))
        if not waiting and not running:
            now = coming[0].arrival.at
            continue
        left, rows = budget, []
        for one in running:
            if one.done >= one.prompt:
                rows.append((one, 1))
                left -= 1
        for one in running:
            if one.done < one.prompt and left > 0:
                rows.append((one, min(one.prompt - one.done, left)))
                left -= rows[-1][1]
        while waiting and left > 0 and len(running) < sequences:
            one = waiting.popleft()
            running.append(one)
            rows.append((one, min(one.prompt, left)))
            left -= rows[-1][1]
        decodes = [one for one, count in rows if count == 1]
        chunks = [(one, count) for one, count in rows if count > 1]
        now += times.step(
            Load(
                sum(count for _, count in rows),
                sum(count * (one.done + count / 2) for one, count in chunks),
                len(decodes),
                sum(one.done for one in decodes),
            )
        )
        for one, count in rows:
            one.done += count
            if one.done >= one.prompt:
                one.made += 1
                first.setdefault(one.number, now)
                if one.made == one.output:
                    ends[one.number] = now
                    running.remove(one)
    return {number: (first[number], ends[number]) for number in ends}
