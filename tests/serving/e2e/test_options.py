"""Options that make no sense are refused before a model is loaded for them."""

import pytest

from catp.serving.server.build import EngineOptions, build_backend


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (EngineOptions(policy="moore-hodgsen"), "moore-hodgson"),
        (EngineOptions(device="cuda"), "--device cpu"),
        (EngineOptions(kv_memory=1), "--kv-memory"),
        (EngineOptions(model="catp-tyni"), "catp-tiny"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_fix(options: EngineOptions, told: str) -> None:
    import torch

    if options.device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises((ValueError, OSError), match=told):
        build_backend(options)
