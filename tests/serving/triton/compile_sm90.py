"""Compile the kernels for an H100, which needs none; run by test_triton.py in a process of its own."""

import triton
from triton.compiler import ASTSource

from catp.serving.model.attention.kernels import TILE, attend_part, merge_parts

TENSORS = {
    **dict.fromkeys(("q", "keys", "values", "out"), "*bf16"), **dict.fromkeys(("parts", "norms"), "*fp32"),
    **dict.fromkeys(("tables", "starts", "begins", "counts", "compact", "tokens"), "*i32"),
}  # fmt: skip
NUMBERS = {
    "scale": "fp32",
    **dict.fromkeys(("q_token", "q_head", "kv_block", "kv_place", "kv_head", "table_row", "short"), "i32"),
}
SIZES = {
    "BLOCK": 16, "HEADS": 14, "KV_HEADS": 2, "SIZE": 64, "WIDTH": 64, "QUERIES": 16, "KEYS": TILE, "SPLITS": 4,
    "LANES": 4,
}  # fmt: skip


def main() -> None:
    if "nvidia" not in triton.backends.backends:
        print("no compiler for CUDA in this build of Triton")
        return
    from triton.backends.compiler import GPUTarget

    for kernel in (attend_part, merge_parts):
        signature = {name: (TENSORS | NUMBERS).get(name, "constexpr") for name in kernel.arg_names}
        constants = {name: SIZES[name] for name, kind in signature.items() if kind == "constexpr"}
        compiled = triton.compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 90, 32))
        assert compiled.metadata.shared <= 227 * 1024
        print(kernel.__name__)


if __name__ == "__main__":
    main()
