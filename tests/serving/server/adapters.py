"""LoRA adapters with random weights for the tiny Llama of `tests.serving.e2e.engines`, saved as peft does."""

import copy
import warnings
from pathlib import Path

from tests.serving.e2e.engines import tiny_llama


def write_adapter(folder: Path, seed: int) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peft, about transformers
        config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
        model = get_peft_model(copy.deepcopy(tiny_llama()), config)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_" in name:
                    weight.normal_(0, 0.5, generator=generator)
        model.save_pretrained(str(folder))
    return folder
