"""The model of a run, ready to answer: its last checkpoint, adapters merged, in the numbers it was trained with."""

from pathlib import Path

import jax
import jax.numpy as jnp

from saltjax.data.template import Template
from saltjax.hub.config import read_config
from saltjax.hub.tokenizer import load_tokenizer
from saltjax.models.decoder import abstract_model
from saltjax.models.families import family_of
from saltjax.models.load import load_model
from saltjax.models.model import Model
from saltjax.study.scoring import Subject
from saltjax.train import checkpoint
from saltjax.train.config import MeshConfig
from saltjax.train.lora import merged, with_adapters
from saltjax.train.mesh import batch_sharding, make_mesh
from saltjax.train.run import read, stored_dtypes
from saltjax.train.sharding import param_shardings

ROWS = 32  # of a batch of answers


def trained_subject(run: Path, multiple: int) -> Subject:
    """Of a run directory; `multiple` is what its vocabulary was padded to. On several accelerators the model and the
    rows are shared out over all. Raises UserError: not a run, no checkpoint, a damaged one."""
    opened = read(run)
    hf_config = read_config(opened.model)
    config = family_of(hf_config).decoder_config(hf_config).padded(multiple)
    graphdef, abstract = abstract_model(config)
    mesh = make_mesh(MeshConfig()) if jax.device_count() > 1 and jax.default_backend() != "cpu" else None
    like = None
    if mesh:
        whole = with_adapters(abstract, opened.config)
        places = param_shardings(whole, mesh)
        like = jax.tree.map(lambda x, at: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at), whole, places)
    _, params = checkpoint.load_params(opened.checkpoints, like=like)
    model = Model(config, graphdef, merged(params, opened.config), stored_dtypes(opened))
    tokenizer = load_tokenizer(opened.model)
    return Subject(
        model,
        tokenizer,
        Template(tokenizer, opened.config.template),
        jnp.dtype(opened.config.compute_dtype),
        ROWS,
        batch_sharding(mesh) if mesh else None,
    )


def stored_subject(directory: Path) -> Subject:
    """Of a model directory, on one device, with its own chat template (else `plain`). Raises UserError."""
    tokenizer = load_tokenizer(directory)
    return Subject(load_model(directory), tokenizer, Template(tokenizer))
