"""The adapters of a run as a directory that PEFT loads: adapter_config.json and adapter_model.safetensors.

PEFT adds lora_alpha / r * lora_B @ lora_A, with lora_A [r, in] and lora_B [out, r], to the weight [out, in] of a module
(Hugging Face PEFT, `LoraConfig` and `save_pretrained`); ours are the transposes, with heads as axes of their own.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from saltjax.errors import UserError
from saltjax.models.config import DecoderConfig
from saltjax.models.layout import parse
from saltjax.models.model import stored_tensors
from saltjax.train.config import LoraConfig
from saltjax.train.sharding import leaves


def write_adapter(
    out: Path, config: DecoderConfig, params: dict, names: Collection[str], lora: LoraConfig, base: str
) -> None:
    """Write the adapters in `params` to the directory `out`, for the model `base` whose tensors are called `names`.

    UserError: the checkpoint has no adapters, or one of them belongs to a part of a stored tensor.
    """
    flat = {path: np.asarray(x) for path, x in leaves({"lora": params.get("lora", {})})}
    model = {name: part for name, part in params.items() if name != "lora"}
    tensors: dict[str, np.ndarray] = {}
    modules, transposed = set(), set()
    for name, (_, parts) in stored_tensors(config, model, names).items():
        a, b = (flat.get(f"lora.{parts[0].row.path}.{side}") for side in "ab")
        if a is None or b is None:
            continue
        if len(parts) > 1:
            raise UserError(
                f"{name} holds several of our matrices; PEFT cannot adapt one of them. Export without --adapter"
            )
        groups, ours = parse(parts[0].row.pattern)
        transposed.add(groups[0] == ours[: a.ndim - 2])  # a Conv1D stores [in, out]
        (layer,) = parts[0].at
        module = name.removesuffix(".weight")
        modules.add(".".join(module.split(".")[-2:]))
        tensors |= {
            f"base_model.model.{module}.lora_A.weight": a[layer].reshape(-1, lora.rank).T.copy(),
            f"base_model.model.{module}.lora_B.weight": b[layer].reshape(lora.rank, -1).T.copy(),
        }
    if not tensors:
        raise UserError("this checkpoint has no adapters; export it without --adapter")
    settings: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "target_modules": sorted(modules),
        "fan_in_fan_out": transposed == {True},
        "bias": "none",
        "use_rslora": False,
        "inference_mode": True,
    }
    (out / "adapter_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    save_file(tensors, out / "adapter_model.safetensors", metadata={"format": "pt"})
