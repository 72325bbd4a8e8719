"""Who used a step's device seconds: each row its share of the predicted work, split by what it was for.

    seconds of a row = seconds of the step * work(row) / work(all rows)        work: `CostModel` without its fixed part

so that the rows' seconds add up to the step's, whatever the model predicts. Within a row, prompt tokens are `fresh`
work but for the keys they attend to that came from the prefix cache (`cached`), and what follows the prompt is
`output`.
"""

from collections.abc import Mapping

from catp.serving.engine.request import Job
from catp.serving.engine.step import Row, Step
from catp.serving.policies.costmodel import CostModel
from catp.serving.server.events import Seconds

__all__ = ["attribute", "work"]


def work(row: Row, costs: CostModel) -> Seconds:
    """Return the predicted seconds of a row, without its part of what every step costs."""
    prompt, cached = len(row.branch.job.request.prompt), row.branch.shared
    if row.count == 1:  # one token reads all keys before it
        keys = row.begin
        alone, reading = costs.token + costs.sequence, costs.kv * keys
        if row.begin >= prompt:
            return Seconds(output=alone + reading)
        found = reading * min(cached, keys) / keys if keys else 0.0
        return Seconds(fresh=alone + reading - found, cached=found)
    inside = min(max(prompt - row.begin, 0), row.count)
    outside = row.count - inside
    fresh = costs.token * inside + costs.attend * inside * (row.begin + inside / 2)
    found = costs.attend * inside * min(cached, row.begin)
    later = costs.token * outside + costs.attend * outside * (row.begin + inside + outside / 2)
    return Seconds(fresh - found, found, later)


def attribute(step: Step, seconds: float, costs: CostModel) -> Mapping[Job, Seconds]:
    """Return each job's part of a step's device seconds; the parts add up to `seconds`, if the step has rows."""
    parts = [(row.branch.job, row.count, work(row, costs)) for row in step.rows]
    whole = sum(part.total for _, _, part in parts)
    if not whole > 0:  # a model that predicts nothing: by tokens
        parts = [(job, count, Seconds(output=float(count))) for job, count, _ in parts]
        whole = sum(part.total for _, _, part in parts)
    found: dict[Job, Seconds] = {}
    for job, _, part in parts:
        scale = seconds / whole
        mine = Seconds(part.fresh * scale, part.cached * scale, part.output * scale)
        found[job] = found[job] + mine if job in found else mine
    return found
