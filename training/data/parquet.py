"""Trajectories as Parquet: the columns of `catp.trajectory/1`, nested as in JSON.

Amounts stay decimal strings, exact to the last digit. `plan.nodes[].args`, which may hold anything, is JSON text, and
`outcome.quality_parts` a map. `toolset` is a struct whose `bare` says that the record gave the id alone.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

from catp.training.data.arrow_values import values
from catp.training.data.problems import Problem
from catp.training.data.trajectory import SCHEMA, Trajectory

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["arrow_schema", "read_rows", "write_rows"]

ROW_GROUP = 2_000
"""Records per row group: a few megabytes to hold in memory, and enough for zstd to see repeats."""


def arrow_schema() -> "pa.Schema":
    """Return the Arrow schema of a file of trajectories."""
    pa = _arrow()
    text, real, whole, flag = pa.string(), pa.float64(), pa.int64(), pa.bool_()

    def struct(**fields: Any) -> Any:
        return pa.struct(list(fields.items()))

    sizes = struct(pixels=whole, chars=whole, rows=whole, bytes=whole, items=whole)
    inputs = struct(
        name=text, type=text, size=sizes, sha256=text, condition=text, pixels=whole, chars=whole, size_source=text
    )
    event = struct(
        node=text, element=whole, attempt=whole, tool=text, status=text, queued_ms=real, start_ms=real, end_ms=real,
        cpu_ms=real, cpu_mem_mb=real, gpu_mem_mb=real, price_usd=text, price_model=text, shared=flag, error=text,
    )  # fmt: skip
    outcome = struct(
        status=text, score=real, metric=text, score_direction=text, score_suspect=flag, price_usd=text,
        latency_ms=real, serial_ms=real, quality_parts=pa.map_(text, real),
    )  # fmt: skip
    columns = struct(
        schema=text, trajectory_id=text, dataset=text, group=text, candidate_set=text,
        split=struct(name=text, inputs=text, phrasing=text),
        request=struct(text=text, lang=text, inputs=pa.list_(inputs), wanted=pa.list_(text), outputs=pa.list_(text),
                       template=text),
        toolset=struct(id=text, sha256=text, bare=flag),
        objective=struct(alpha=real, budget_usd=text, deadline_ms=real, price_scale_usd=text),
        policy=struct(name=text, version=text, checkpoint_sha=text, decoding=text, propensity=real, logprob=real,
                      candidates_offered=whole),
        plan=struct(language=text, text=text, nodes=pa.list_(struct(id=text, tool=text, args=text)),
                    edges=pa.list_(pa.list_(text)), canonical_hash=text),
        events=pa.list_(event), outcome=outcome,
        provenance=struct(source=text, license=text, hardware=text, engine_version=text, logged_at=text, seed=whole,
                          notes=text, timing_quantised_100ms=flag),
    )  # fmt: skip
    return pa.schema(list(columns), metadata={"catp.schema": SCHEMA})


def write_rows(file: IO[bytes], records: Iterable[Trajectory]) -> int:
    """Write records to an open file in row groups, compressed with zstd; return how many."""
    pa, done, source = _arrow(), 0, iter(records)
    from pyarrow import parquet

    schema = arrow_schema()
    with parquet.ParquetWriter(file, schema, compression="zstd", compression_level=9) as writer:
        while rows := [_row(record) for record in islice(source, ROW_GROUP)]:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema), row_group_size=ROW_GROUP)
            done += len(rows)
    return done


def read_rows(path: Path) -> Iterator[Any]:
    """Yield each row as the JSON object it stands for; a `Problem` in place of a row that has none.

    Raises:
        OSError: the file cannot be read.
        pyarrow.ArrowException: it is no Parquet file, or damaged.
    """
    _arrow()
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=ROW_GROUP):
            for row in values(batch.to_struct_array()):
                yield _object(row)


def _row(record: Trajectory) -> dict[str, Any]:
    row = record.model_dump(mode="json", by_alias=True)
    for node, original in zip(row["plan"]["nodes"], record.plan.nodes, strict=True):
        node["args"] = json.dumps(original.args, ensure_ascii=False, allow_nan=False)
    bare = isinstance(record.toolset, str)
    row["toolset"] = {"id": row["toolset"], "bare": True} if bare else {**row["toolset"], "bare": False}
    return row


def _object(row: dict[str, Any]) -> Any:
    """Undo `_row`; what others wrote may have any form."""
    plan, toolset = row.get("plan"), row.get("toolset")
    nodes = plan.get("nodes") if isinstance(plan, dict) else None
    for number, node in enumerate(nodes if isinstance(nodes, list) else ()):
        if isinstance(node, dict) and isinstance(node.get("args"), str):
            try:
                node["args"] = json.loads(node["args"], parse_constant=_refused)
            except (ValueError, RecursionError) as error:
                field, fix = f"plan.nodes[{number}].args", "write the arguments as a JSON object"
                return Problem("json", field, node["args"][:80], f"not JSON: {error}", fix)
    if isinstance(toolset, dict) and toolset.pop("bare", False):
        row["toolset"] = toolset.get("id")
    return row


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _arrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError("Parquet needs pyarrow: pip install 'catp[train]'") from error
    return pyarrow
