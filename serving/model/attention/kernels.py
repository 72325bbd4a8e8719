"""Triton kernels: few queries a row over paged keys and values, the context in parts (split-K) merged by log-sum-exp.

Flash-decoding (Dao et al. 2023) over vLLM's block tables. With grouped queries, the queries of all heads that share a
key head are one tile, so each key is read once. How a row's context is divided follows from its length, on the device:
a captured CUDA graph holds for any lengths.
"""

try:
    import triton
    import triton.language as tl
except ImportError as error:
    raise ImportError(
        "Triton attention needs triton, which comes with torch for CUDA; run: pip install 'triton>=3.6,<4', or use "
        "another attention backend"
    ) from error

__all__ = ["TILE", "attend_part", "merge_parts"]

TILE = 64
"""Keys of one step of the loop, in 16 bits; half as many in 32."""


@triton.jit  # type: ignore[untyped-decorator]
def attend_part(  # type: ignore[no-untyped-def]  # annotations are Triton's: it would look up `Any` on the device
    q, keys, values, tables, starts, begins, counts, compact, out,
    parts, norms, scale, q_token, q_head, kv_block, kv_place, kv_head, table_row, short,
    BLOCK: tl.constexpr, HEADS: tl.constexpr, KV_HEADS: tl.constexpr, SIZE: tl.constexpr, WIDTH: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """One row, one key head, one part of the context; grid (rows, KV_HEADS, SPLITS).

    Row r has counts[r] queries at starts[r] of the pack (compact[r] among short rows), positions begins[r] on. With one
    part the result goes to `out` (N, HEADS, SIZE); with several, results and base-2 log-sum-exps of part s go to
    parts[s, compact token, head] (float32) and norms[s, compact token, head]. `scale` includes log2(e);
    names of two words from q_token to table_row are strides.
    """
    row, group, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    begin, count = tl.load(begins + row), tl.load(counts + row)
    share: tl.constexpr = HEADS // KV_HEADS
    lane = tl.arange(0, QUERIES)
    query, head = lane // share, group * share + lane % share
    alive = query < count
    d = tl.arange(0, WIDTH)
    token = (tl.load(starts + row) + query).to(tl.int64)
    wanted = alive[:, None] & (d < SIZE)[None, :]
    mine = tl.load(q + token[:, None] * q_token + head[:, None] * q_head + d[None, :], mask=wanted, other=0.0)

    context = begin + count
    each = tl.cdiv(tl.cdiv(context, KEYS), SPLITS) * KEYS
    first = split * each
    last = tl.minimum(first + each, context)
    best = tl.full((QUERIES,), float("-inf"), tl.float32)
    total = tl.zeros((QUERIES,), tl.float32)
    found = tl.zeros((QUERIES, WIDTH), tl.float32)
    for at in range(first, last, KEYS):
        n = at + tl.arange(0, KEYS)
        inside = n < last
        block = tl.load(tables + row * table_row + n // BLOCK, mask=inside, other=0).to(tl.int64)
        where = (block * kv_block + n % BLOCK * kv_place + group.to(tl.int64) * kv_head)[:, None] + d[None, :]
        held = inside[:, None] & (d < SIZE)[None, :]
        key = tl.load(keys + where, mask=held, other=0.0)
        scores = tl.dot(mine, tl.trans(key), input_precision="ieee") * scale
        scores = tl.where(inside[None, :] & (n[None, :] <= (begin + query)[:, None]), scores, float("-inf"))
        above = tl.maximum(best, tl.max(scores, 1))
        safe = tl.where(above == float("-inf"), 0.0, above)  # a query that sees nothing of this part yet
        weights = tl.exp2(scores - safe[:, None])
        fade = tl.exp2(best - safe)
        value = tl.load(values + where, mask=held, other=0.0)
        found = found * fade[:, None] + tl.dot(weights.to(value.dtype), value, input_precision="ieee")
        total = total * fade + tl.sum(weights, 1)
        best = above

    found = found / tl.where(total > 0.0, total, 1.0)[:, None]
    if SPLITS == 1:
        place = (token * HEADS + head)[:, None] * SIZE + d[None, :]
        tl.store(out + place, found.to(out.dtype.element_ty), mask=wanted)
    else:
        slot = (split * short + tl.load(compact + row) + query).to(tl.int64) * HEADS + head
        tl.store(parts + slot[:, None] * SIZE + d[None, :], found, mask=wanted)
        tl.store(norms + slot, best + tl.log2(tl.where(total > 0.0, total, 1.0)), mask=alive)  # -inf: saw nothing


@triton.jit  # type: ignore[untyped-decorator]
def merge_parts(  # type: ignore[no-untyped-def]
    parts, norms, tokens, out, short,
    HEADS: tl.constexpr, SIZE: tl.constexpr, WIDTH: tl.constexpr, SPLITS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Merge the parts of one compact token and head; grid (short, HEADS). tokens[i] is where it stands in the pack."""
    place, head = tl.program_id(0), tl.program_id(1)
    split, d = tl.arange(0, LANES), tl.arange(0, WIDTH)
    slot = (split * short + place).to(tl.int64) * HEADS + head
    norm = tl.load(norms + slot, mask=split < SPLITS, other=float("-inf"))
    weight = tl.exp2(norm - tl.max(norm, 0))  # every query sees itself: the largest is finite
    held = (split < SPLITS)[:, None] & (d < SIZE)[None, :]
    part = tl.load(parts + slot[:, None] * SIZE + d[None, :], mask=held, other=0.0)
    found = tl.sum(part * weight[:, None], 0) / tl.sum(weight, 0)
    token = tl.load(tokens + place).to(tl.int64)
    tl.store(out + (token * HEADS + head) * SIZE + d, found.to(out.dtype.element_ty), mask=d < SIZE)
