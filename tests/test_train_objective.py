"""What a step minimises: the batch in parts, the z-loss, and logits that never exist whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import SIZES, batch, fresh, settings, stored

from saltjax.models.config import DecoderConfig
from saltjax.models.decoder import abstract_model, hidden_states, logits
from saltjax.models.model import Model
from saltjax.train.config import MeshConfig
from saltjax.train.forward import decoder_forward
from saltjax.train.mesh import make_mesh
from saltjax.train.step import abstract_state, global_batch, make_step, start
from saltjax.train.trainable import trainable


@pytest.mark.parametrize("mesh", [(1, 1, 1), (1, 2, 1)])
def test_parts_of_a_batch_and_the_z_loss_have_the_gradient_of_the_whole(mesh):
    model, params = stored()
    rows = batch(0)
    inputs = [jnp.array(rows[name]) for name in ("tokens", "positions", "segments")]
    valid = (rows["segments"][:, 1:] == rows["segments"][:, :-1]) & (rows["segments"][:, 1:] > 0)

    def whole(params):
        scores = logits(model.config, params, hidden_states(model.graphdef, params, *inputs))[:, :-1]
        z = jax.nn.logsumexp(scores, axis=-1)
        chosen = jnp.take_along_axis(scores, inputs[0][:, 1:, None], -1)[..., 0]
        return ((z - chosen) * valid).sum() / valid.sum() + 0.1 * (z * z * valid).sum() / valid.sum(), (z - chosen)

    (_, losses), grads = jax.jit(jax.value_and_grad(whole, has_aux=True))(params)

    config = settings("accumulate=4", "z_loss=0.1", "beta1=0", "clip_norm=0")
    mask, on = trainable(params, "full"), make_mesh(MeshConfig(*mesh))
    state = start(fresh()[1], mask, config, on)
    step = make_step(decoder_forward(model, jnp.float32), mask, config, on, state)
    state, metrics = step(state, global_batch(rows, on))
    assert metrics["tokens"] == valid.sum()
    assert float(metrics["loss"]) == pytest.approx(float(losses[valid].mean()), rel=1e-6)  # without the z-loss
    for path, wanted in (("embed.table", grads["embed"]["table"]), ("layers.mlp.up", grads["layers"]["mlp"]["up"])):
        np.testing.assert_allclose(state.opt_state[path][0].mu, wanted, atol=3e-7, rtol=1e-4, err_msg=path)


def test_a_step_with_a_vocabulary_of_256_000_never_holds_all_logits():
    """Compiled from shapes alone. All logits of 16 x 512 tokens would be 8.4 GB, and the backward pass holds them and
    their gradient; here it is a few chunks of 256 MiB."""
    config = DecoderConfig(**{**SIZES, "vocab_size": 256_000, "max_positions": 512, "layers": 1, "heads": 2})
    model = Model(config, *abstract_model(config), {})
    mesh, run = make_mesh(MeshConfig(1, 1, 1)), settings()
    mask = trainable(model.params, "full")
    state = abstract_state(model.params, mask, run, mesh)
    rows = {name: jax.ShapeDtypeStruct((16, 512), jnp.int32) for name in ("tokens", "positions", "segments")}
    forward = decoder_forward(model, jnp.bfloat16, "block")
    compiled = make_step(forward, mask, run, mesh, state).lower(state, rows).compile()
    logits_bytes = 4 * 16 * 512 * config.vocab_size
    assert compiled.memory_analysis().temp_size_in_bytes < logits_bytes / 5
