"""plan: what a step of `adapt` or `finetune` would cost on a slice of TPUs that nobody has rented yet."""

import dataclasses
import importlib.util
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from saltjax.api._beginning import VOCABULARY_MULTIPLE
from saltjax.errors import UserError
from saltjax.hub.config import read_config as read_model_config
from saltjax.hub.locate import locate
from saltjax.models.families import family_of
from saltjax.train.config import read_config
from saltjax.train.plan import plan as plan_step
from saltjax.train.run import resolved

# libtpu asks Google's cloud who it is, and lets one program at a time in; to compile needs neither.
ENVIRONMENT = {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "TPU_STDERR_LOG_LEVEL": "3"}


def plan(
    model: str | Path, where: str, *, config: str | Path | None = None, overrides: Sequence[str] = ()
) -> dict[str, Any]:
    """Memory, flops and collectives of a train step of MODEL on `where`: a TPU slice such as `v5e:4x4` or `v5p:2x2x1`,
    or `cpu:8` for eight devices of this machine (whose memory says nothing about a TPU's).

    MODEL needs a config.json only. Settings as for `adapt`. Returns `saltjax.train.plan.plan`'s record and `plan`.
    UserError: as `adapt`, and an unknown slice, or no libtpu.
    """
    settings = read_config(config, overrides)
    hf_config = read_model_config(locate(model))
    decoder = family_of(hf_config).decoder_config(hf_config)
    if settings.seq_len > decoder.max_positions:
        raise UserError(f"seq_len={settings.seq_len} is more than the {decoder.max_positions} positions of {model}")
    devices = slice_devices(where)
    if settings.compute_dtype == "auto" and devices[0].platform != "cpu":
        settings = dataclasses.replace(settings, compute_dtype="bfloat16")
    return {"plan": where} | plan_step(decoder.padded(VOCABULARY_MULTIPLE), resolved(settings), devices)


def slice_devices(where: str) -> list[Any]:
    """The devices of `v5e:4x4` or `cpu:8`. UserError: no such slice, no libtpu, fewer devices here."""
    platform, _, size = where.partition(":")
    if platform == "cpu" and size.isdigit():
        devices = jax.devices("cpu")
        if len(devices) < int(size):
            wanted = f"XLA_FLAGS=--xla_force_host_platform_device_count={size}"
            raise UserError(f"--plan {where}: JAX sees {len(devices)} CPU devices here; set {wanted}")
        return devices[: int(size)]
    if not re.fullmatch(r"v\d\w*", platform) or not re.fullmatch(r"\d+(x\d+){1,2}", size):
        raise UserError(f"--plan {where}: write a TPU slice as kind:shape, for instance v5e:4x4, v5p:2x2x1, v6e:2x4")
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(f"--plan {where} needs libtpu's compiler (no TPU): pip install 'saltjax[tpu]'")
    from jax.experimental import topologies

    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=where).devices)
    except Exception as error:  # whatever libtpu raises for a shape that it does not know
        reason = str(error).split("\n")[0][:200]
        raise UserError(f"--plan {where}: libtpu knows no such slice ({reason})") from None
