"""Directories in and out: bit equality, shardings, and everything that is refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo_decoders
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from safetensors.torch import load_file, save_file
from test_models_parity import ids, ours, tiny

from saltjax.errors import UserError
from saltjax.models import (
    DecoderConfig,
    abstract_model,
    export_tensors,
    family_of,
    hidden_states,
    layout,
    load_model,
    logits,
    place,
    random_model,
    slabs,
    write_model,
)
from saltjax.models.families import FAMILIES
from saltjax.models.families.llama import LLAMA
from saltjax.models.model import targets

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
SPECS = {  # one mesh axis per kind of size, as a trainer would have it
    "table": ("tensor", "fsdp"), "q": (None, "fsdp", "tensor"), "k": (None, "fsdp"), "v": (None, "fsdp"),
    "o": (None, "tensor", None, "fsdp"), "gate": (None, "fsdp", "tensor"), "up": (None, "fsdp", "tensor"),
    "down": (None, "tensor", "fsdp"),
}  # fmt: skip


def on_mesh():
    mesh = jax.make_mesh((2, 2, 2), ("data", "fsdp", "tensor"), axis_types=(AxisType.Auto,) * 3)
    return mesh, lambda abstract: jax.tree_util.tree_map_with_path(
        lambda path, _: NamedSharding(mesh, PartitionSpec(*SPECS.get(path[-1].key, ()))), abstract
    )


def edit(path, **changes):
    config = json.loads((path / "config.json").read_text())
    for key, value in changes.items():
        config.pop(key) if value is None else config.__setitem__(key, value)
    (path / "config.json").write_text(json.dumps(config))


def rewrite(path, change):
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("tied", [True, False])
def test_round_trip_is_bit_equal(tmp_path, dtype, tied):
    path, _ = tiny(tmp_path / "m", dtype, tie_word_embeddings=tied, attention_bias=True, mlp_bias=True)
    model = load_model(path, pad_vocab_to=16)
    assert {leaf.dtype for leaf in jax.tree.leaves(model.params)} == {jnp.dtype("float32")}
    stored = load_file(path / "model.safetensors")
    exported = dict(export_tensors(model.config, model.params, model.dtypes))
    assert exported.keys() == stored.keys()
    for name, array in exported.items():
        assert str(array.dtype) == dtype and array.flags.c_contiguous
        assert array.tobytes() == stored[name].contiguous().view(torch.uint8).numpy().tobytes(), name


def test_loading_in_many_tiles_is_loading_in_one(tmp_path, monkeypatch):
    path, _ = tiny(tmp_path / "m", "bfloat16")
    whole = load_model(path)
    monkeypatch.setattr(slabs, "TILE", (4, 7))
    monkeypatch.setattr(slabs, "JOB", 999)
    for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(load_model(path).params), strict=True):
        assert (np.asarray(a) == np.asarray(b)).all()


def test_parameter_tree_is_the_one_that_sharding_rules_know():
    config = DecoderConfig(
        vocab_size=11, hidden_size=8, layers=3, heads=4, kv_heads=2, head_dim=6, mlp_size=10, max_positions=32,
        attention_bias=True, mlp_bias=True,
    )  # fmt: skip
    _, abstract = abstract_model(config, jnp.bfloat16)
    shapes = {
        "/".join(key.key for key in path): leaf.shape
        for path, leaf in jax.tree_util.tree_flatten_with_path(abstract)[0]
        if leaf.dtype == jnp.bfloat16
    }
    assert shapes == {
        "embed/table": (11, 8), "head/table": (11, 8), "norm/scale": (8,),
        "layers/attn_norm/scale": (3, 8), "layers/mlp_norm/scale": (3, 8),
        "layers/attn/q": (3, 8, 4, 6), "layers/attn/k": (3, 8, 2, 6), "layers/attn/v": (3, 8, 2, 6),
        "layers/attn/o": (3, 4, 6, 8), "layers/attn/q_bias": (3, 4, 6), "layers/attn/k_bias": (3, 2, 6),
        "layers/attn/v_bias": (3, 2, 6), "layers/attn/o_bias": (3, 8),
        "layers/mlp/gate": (3, 8, 10), "layers/mlp/up": (3, 8, 10), "layers/mlp/down": (3, 10, 8),
        "layers/mlp/gate_bias": (3, 10), "layers/mlp/up_bias": (3, 10), "layers/mlp/down_bias": (3, 8),
    }  # fmt: skip


def test_a_mesh_of_eight_equals_one_device(tmp_path):
    path, _ = tiny(tmp_path / "m", intermediate_size=78)
    mesh, shardings = on_mesh()
    one, eight = load_model(path), load_model(path, shardings, pad_vocab_to=2)
    assert eight.params["layers"]["attn"]["q"].sharding.spec == PartitionSpec(None, "fsdp", "tensor")
    assert eight.params["embed"]["table"].addressable_shards[0].data.shape == (66, 30)
    tokens = jnp.asarray(ids((4, 24)))
    batch = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))

    def loss(params, model, tokens, constrain=None):
        positions = jnp.broadcast_to(jnp.arange(24), tokens.shape)
        hidden = hidden_states(
            model.graphdef, params, tokens, positions, jnp.ones_like(tokens), remat="dots", constrain=constrain
        )
        scores = jax.nn.log_softmax(logits(model.config, params, hidden[:, :-1]))
        return -jnp.take_along_axis(scores, tokens[:, 1:, None], axis=-1).mean()

    def grads(model, tokens, constrain=None):
        step = jax.jit(jax.value_and_grad(lambda params, tokens: loss(params, model, tokens, constrain)))
        value, gradient = step(model.params, tokens)
        return float(value), dict(export_tensors(model.config, gradient, model.dtypes))

    expected, expected_grads = grads(one, tokens)
    constrain = lambda x: jax.lax.with_sharding_constraint(x, batch)  # noqa: E731
    got, got_grads = grads(eight, jax.device_put(tokens, batch), constrain)
    assert abs(got - expected) < 1e-5
    for name, gradient in expected_grads.items():
        np.testing.assert_allclose(got_grads[name], gradient, atol=1e-6, rtol=1e-4, err_msg=name)


def test_loading_in_blocks_of_layers_is_loading_in_one(tmp_path, monkeypatch):
    path, _ = tiny(tmp_path / "m", "bfloat16", intermediate_size=78, attention_bias=True)
    _, shardings = on_mesh()
    one = load_model(path, pad_vocab_to=2)
    for rule in (None, shardings):
        monkeypatch.setattr(place, "_layers_at_once", lambda leaf, sharding: 2)  # of three
        model = load_model(path, rule, pad_vocab_to=2)
        monkeypatch.undo()
        expected = targets(abstract_model(one.config)[1], rule)
        for a, b, sharding in zip(*map(jax.tree.leaves, (model.params, one.params, expected)), strict=True):
            assert (np.asarray(a) == np.asarray(b)).all() and a.sharding.is_equivalent_to(sharding, a.ndim)


def test_every_device_gets_its_own_part_only(tmp_path, monkeypatch):
    path, _ = tiny(tmp_path / "m", intermediate_size=78)
    _, shardings = on_mesh()
    made = []
    whole = place.aligned
    monkeypatch.setattr(place, "aligned", lambda *args: made.append(whole(*args)) or made[-1])
    model = load_model(path, shardings, pad_vocab_to=2)
    one = load_model(path, pad_vocab_to=2)
    for a, b in zip(jax.tree.leaves(model.params), jax.tree.leaves(one.params), strict=True):
        assert (np.asarray(a) == np.asarray(b)).all()
    shards = [shard for leaf in jax.tree.leaves(model.params) for shard in leaf.addressable_shards]
    host = {array.ctypes.data: array.nbytes for array in made}
    assert {shard.data.unsafe_buffer_pointer() for shard in shards} <= host.keys()  # taken over, not copied
    assert sum(array.nbytes for array in made) == 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(one.params))


def test_random_model_depends_on_the_seed_alone():
    config = DecoderConfig(
        vocab_size=131, hidden_size=8, layers=3, heads=4, kv_heads=2, head_dim=6, mlp_size=10, max_positions=32
    )
    _, shardings = on_mesh()
    a, b, c = random_model(config, 0), random_model(config, 0, shardings, pad_vocab_to=4), random_model(config, 1)
    tensors = [dict(export_tensors(m.config, m.params, m.dtypes)) for m in (a, b, c)]
    for name, array in tensors[0].items():
        assert array.dtype == np.float32
        assert array.tobytes() == tensors[1][name].tobytes(), name
        assert "norm" in name or (array != tensors[2][name]).any(), name
    assert (np.asarray(b.params["embed"]["table"])[131:] == 0).all()
    layers = np.asarray(a.params["layers"]["mlp"]["up"])
    assert (layers[0] != layers[1]).any()


def test_old_hub_configs_are_understood(tmp_path):
    path, _ = tiny(tmp_path / "m")
    edit(
        path, rope_parameters=None, rope_theta=500000.0,
        rope_scaling={"type": "linear", "factor": 4.0},
    )  # fmt: skip
    config = load_model(path).config
    assert config.rope_theta == 500000.0
    assert config.rope_scaling is not None and config.rope_scaling.factor == 4.0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}, "rope_type='dynamic'"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "partial_"),
        ({"hidden_act": "gelu"}, "hidden_act='gelu'"),
        ({"pretraining_tp": 2}, "pretraining_tp=2"),
        ({"attention_dropout": 0.1}, "attention_dropout=0.1"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, "quantization_config"),
        ({"num_key_value_heads": 4}, "kv_heads"),
        ({"head_dim": 7}, "head_dim"),
    ],
)
def test_an_unsupported_field_is_refused_by_name(tmp_path, changes, named):
    path, _ = tiny(tmp_path / "m")
    edit(path, **changes)
    with pytest.raises(UserError, match=named) as error:
        load_model(path)
    assert "\n" not in str(error.value) and "config.json" in str(error.value)


def test_a_field_that_a_later_transformers_adds_is_not_ignored():
    class Later(transformers.LlamaConfig):
        residual_scale: float = 1.0

    small = {"hidden_size": 64, "num_attention_heads": 4}
    assert family_of(Later(**small)).decoder_config(Later(**small)).heads == 4
    with pytest.raises(UserError, match=r"residual_scale=2\.0"):
        family_of(Later(**small)).decoder_config(Later(**small, residual_scale=2.0))


def test_all_unsupported_fields_come_in_one_error(tmp_path):
    path, _ = tiny(tmp_path / "m")
    edit(path, hidden_act="gelu", pretraining_tp=4)
    with pytest.raises(UserError, match=r"hidden_act.*pretraining_tp"):
        load_model(path)


def test_an_unknown_architecture_is_refused_by_name(tmp_path):
    path, _ = tiny(tmp_path / "m")
    edit(path, model_type="mamba", architectures=["MambaForCausalLM"])
    with pytest.raises(UserError, match=r"MambaForCausalLM.*mamba.*llama"):
        load_model(path)


def test_missing_unexpected_and_misshapen_tensors_come_in_one_error(tmp_path):
    path, _ = tiny(tmp_path / "m")

    def spoil(tensors):
        del tensors["model.layers.1.mlp.up_proj.weight"]
        tensors["model.layers.0.self_attn.q_norm.weight"] = torch.ones(10)
        tensors["model.norm.weight"] = torch.ones(59)
        tensors["model.layers.2.input_layernorm.weight"] = torch.ones(60, dtype=torch.int8)

    rewrite(path, spoil)
    with pytest.raises(UserError) as error:
        load_model(path)
    message = str(error.value)
    assert str(path) in message and "\n" not in message
    assert "missing: model.layers.1.mlp.up_proj.weight" in message
    assert "unexpected: model.layers.0.self_attn.q_norm.weight" in message
    assert "model.norm.weight is [59], config.json says [60]" in message
    assert "model.layers.2.input_layernorm.weight is I8" in message


def test_stored_buffers_and_an_equal_tied_head_are_allowed(tmp_path):
    path, _ = tiny(tmp_path / "m", tie_word_embeddings=True)

    def add(tensors):
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(5)
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()

    rewrite(path, add)
    model = load_model(path)
    assert "head" not in model.params and "lm_head.weight" not in model.dtypes
    rewrite(path, lambda tensors: tensors["lm_head.weight"].add_(1))
    with pytest.raises(UserError, match="tie_word_embeddings"):
        load_model(path)


def test_export_refuses_what_float16_cannot_hold(tmp_path):
    path, _ = tiny(tmp_path / "m", "float16")
    model = load_model(path)
    model.params["norm"]["scale"] = model.params["norm"]["scale"].at[3].set(1e6)
    with pytest.raises(UserError, match=r"model\.norm\.weight.*float16"):
        dict(export_tensors(model.config, model.params, model.dtypes))


def test_remat_by_an_unknown_name_is_an_error(tmp_path):
    path, _ = tiny(tmp_path / "m")
    with pytest.raises(ValueError, match="none, block, dots"):
        ours(load_model(path), ids((1, 4)), remat="everything")


def test_layout_patterns_name_the_same_axes_on_both_sides():
    ours = np.arange(48).reshape(8, 2, 3)
    stored = layout.as_stored("(h k) d -> d h k", ours)
    assert np.shares_memory(stored, ours) and stored.shape == (6, 8) and stored[5, 4] == ours[4, 1, 2]
    with pytest.raises(ValueError, match="different axes"):
        layout.parse("a b -> a c")
    with pytest.raises(ValueError, match="apart"):
        layout.parse("(h k) d -> h d k")


@pytest.mark.parametrize("pattern", ["(h k) d -> d h k", "d (h k) -> h k d", "d +(h k) -> d h k"])
def test_any_part_of_a_parameter_is_found_in_the_stored_tensor(pattern):
    shape = (4, 6, 5) if pattern.endswith("h k d") else (5, 4, 6)
    ours = np.arange(120).reshape(shape)
    stored = np.ascontiguousarray(layout.as_stored(pattern, ours))
    for index in [(slice(1, 3), slice(None), slice(2, 5)), (slice(None), slice(1, 4), slice(0, 2)), (slice(2, 2),) * 3]:
        part = np.full_like(ours[index], -1, order="C")
        chosen = layout.selection(pattern, shape, index)
        slabs.run(slabs.copy_jobs(lambda: stored, chosen, layout.as_stored(pattern, part)))
        np.testing.assert_array_equal(part, ours[index])


FUSED = {  # how Phi-3 and GPT-2 (Conv1D: the input comes first) store what Llama has in separate tensors
    "self_attn.qkv_proj.weight": ("self_attn.{}_proj.weight", "qkv", "+(h k) d -> d h k", 0),
    "self_attn.c_attn.bias": ("self_attn.{}_proj.bias", "qkv", "+(h k) -> h k", 0),
    "mlp.c_fc.weight": ("mlp.{}_proj.weight", ("gate", "up"), "d +f -> d f", 1),
}


@pytest.fixture
def fused_table(monkeypatch):
    """Llama's family with some of its tensors fused, and a prefix that a checkpoint may lack."""
    rows = []
    for row in FAMILIES["llama"].rows:
        for fused, (alone, parts, pattern, _) in FUSED.items():
            if row.name.removeprefix("model.layers.{}.") in [alone.format(part) for part in parts]:
                row = row._replace(name=f"model.layers.{{}}.{fused}", pattern=pattern)
        rows.append(row._replace(name=row.name.removeprefix("model.")))
    family = FAMILIES["llama"]._replace(rows=tuple(rows), prefixes=("model.",), ignored=(r"layers\.\d+\.attn\.bias",))
    monkeypatch.setitem(FAMILIES, "llama", family)


def fuse(tensors, prefix):
    for layer in range(3):
        for fused, (alone, parts, _, axis) in FUSED.items():
            names = [f"model.layers.{layer}.{alone.format(part)}" for part in parts]
            values = [tensors.pop(name) for name in names]
            values = [value.T for value in values] if axis == 1 else values
            tensors[f"model.layers.{layer}.{fused}"] = torch.cat(values, axis).contiguous()
        tensors[f"model.layers.{layer}.attn.bias"] = torch.ones(3)
    for name in [name for name in tensors if name.startswith("model.")]:
        tensors[prefix + name.removeprefix("model.")] = tensors.pop(name)


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize("tied", [True, False])
def test_fused_tensors_and_prefixes_go_in_and_out(tmp_path, fused_table, monkeypatch, prefix, tied):
    path, _ = tiny(
        tmp_path / "m", "bfloat16", attention_bias=True, mlp_bias=True, tie_word_embeddings=tied, intermediate_size=78
    )
    with monkeypatch.context() as plain:
        plain.setitem(FAMILIES, "llama", LLAMA)
        expected = load_model(path)
    rewrite(path, lambda tensors: fuse(tensors, prefix))
    _, shardings = on_mesh()
    for model in (load_model(path), load_model(path, shardings, pad_vocab_to=2)):
        values = jax.tree.map(np.asarray, model.params)
        values["embed"]["table"] = values["embed"]["table"][:131]
        if not tied:
            values["head"]["table"] = values["head"]["table"][:131]
        jax.tree.map(np.testing.assert_array_equal, values, jax.tree.map(np.asarray, expected.params))
        stored = {
            name: tensor for name, tensor in load_file(path / "model.safetensors").items() if ".attn." not in name
        }
        exported = dict(export_tensors(model.config, model.params, model.dtypes))
        assert exported.keys() == stored.keys() and f"{prefix}layers.0.mlp.c_fc.weight" in stored
        for name, array in exported.items():
            assert array.tobytes() == stored[name].view(torch.uint8).numpy().tobytes(), name


def test_a_fused_tensor_of_another_size_is_misshapen(tmp_path, fused_table):
    path, _ = tiny(tmp_path / "m", attention_bias=True)
    rewrite(path, lambda tensors: fuse(tensors, ""))
    name = "layers.1.self_attn.qkv_proj.weight"
    rewrite(path, lambda tensors: tensors.__setitem__(name, tensors[name][1:]))
    with pytest.raises(UserError, match=r"layers.1.self_attn.qkv_proj.weight is \[99, 60\].*says \[100, 60\]"):
        load_model(path)


def test_a_name_that_comes_twice_says_where_its_parts_lie(monkeypatch):
    config = DecoderConfig(
        vocab_size=11, hidden_size=8, layers=3, heads=4, kv_heads=2, head_dim=6, mlp_size=10, max_positions=32
    )
    rows = tuple(row._replace(name=row.name.replace("up_proj", "gate_proj")) for row in LLAMA.rows)
    monkeypatch.setitem(FAMILIES, "llama", LLAMA._replace(rows=rows))
    with pytest.raises(ValueError, match=r"gate_proj.* twice"):
        random_model(config, 0)


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe", "phi3", "gpt2"])
def test_what_is_written_from_a_mesh_is_what_transformers_wrote(tmp_path, kind):
    source = zoo_decoders.make(kind, tmp_path / "m")
    _, shardings = on_mesh()
    model = load_model(tmp_path / "m", lambda abstract: fitting(shardings(abstract), abstract), pad_vocab_to=2)
    out = tmp_path / "out"
    out.mkdir()
    write_model(out, model.config, model.params, model.dtypes)
    stored, exported = load_file(tmp_path / "m/model.safetensors"), load_file(out / "model.safetensors")
    assert stored.keys() == exported.keys()
    assert all(torch.equal(stored[name], exported[name]) for name in stored)
    source.config.save_pretrained(out)
    again, info = transformers.AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not any(info.values()), info
    assert all(
        torch.equal(a, b) for a, b in zip(again.state_dict().values(), source.state_dict().values(), strict=True)
    )


def fitting(shardings, abstract):
    """The shardings without the axes that do not divide a dimension."""

    def fit(sharding, leaf):
        spec = [axis if axis and size % 2 == 0 else None for axis, size in zip(sharding.spec, leaf.shape, strict=False)]
        return NamedSharding(sharding.mesh, PartitionSpec(*spec))

    return jax.tree.map(fit, shardings, abstract)
