"""Arrow arrays as Python values, column by column: several times as fast as `to_pylist` on nested data.

Fields that are null are left out of the objects they belong to, as JSON leaves them out.
"""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["values"]


def values(array: "pa.Array") -> list[Any]:
    """Return the values of an array: structs and maps as dicts, lists as lists, nulls as None."""
    from pyarrow import types

    kind = array.type
    if types.is_struct(kind):
        names = [kind.field(number).name for number in range(kind.num_fields)]
        columns = [values(child) for child in array.flatten()]
        rows: list[Any] = [
            {name: value for name, value in zip(names, row, strict=True) if value is not None}
            for row in zip(*columns, strict=True)
        ]
    elif types.is_map(kind):
        pairs = list(zip(values(array.keys), values(array.items), strict=True))
        rows = [dict(pairs[start:end]) for start, end in _spans(array)]
    elif types.is_list(kind) or types.is_large_list(kind):
        items = values(array.values)
        rows = [items[start:end] for start, end in _spans(array)]
    elif types.is_integer(kind) or types.is_floating(kind):
        rows = array.fill_null(0).to_numpy(zero_copy_only=False).tolist()  # with nulls, whole numbers would be floats
    else:
        return list(array.to_pylist())
    if array.null_count:
        missing = array.is_null().to_numpy(zero_copy_only=False).tolist()
        return [None if gone else row for row, gone in zip(rows, missing, strict=True)]
    return rows


def _spans(array: "pa.Array") -> list[tuple[int, int]]:
    """Where each row's elements begin and end among the elements of all rows."""
    return list(pairwise(array.offsets.to_pylist()))
