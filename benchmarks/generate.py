"""Greedy generation: ours with the cache, ours computing everything again for every token, and transformers' own.

    python benchmarks/generate.py                            # 8 layers of 256, 8 prompts of 64, 128 new tokens
    python benchmarks/generate.py --layers 12 --hidden 768 --vocab 32000 --repeats 3

The model is random, a Llama, exported for PyTorch, float32 in all three, which use the same cores. Medians of
interleaved runs in one process after one that compiles; `same` is the share of new ids that are those of the first
line: once two nearly equal scores come out the other way round, the rest of that row differs. The other lines are
ours: what drawing from the nucleus adds, and a batch of one.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from saltjax.models import Model, family_of, generate, hidden_states, logits, random_model, write_model

Ids = list[list[int]]


def models(options: argparse.Namespace, directory: Path) -> tuple[Model, PreTrainedModel]:
    """The same weights here and there; stretched, so that the model has something to choose between."""
    hf = LlamaConfig(
        vocab_size=options.vocab, hidden_size=options.hidden, intermediate_size=options.hidden * 11 // 4,
        num_hidden_layers=options.layers, num_attention_heads=options.hidden // 32,
        num_key_value_heads=options.hidden // 64, max_position_embeddings=2048, dtype="float32",
    )  # fmt: skip
    hf.save_pretrained(directory)
    model = random_model(family_of(hf).decoder_config(hf), 0)
    model = model._replace(params=jax.tree.map(lambda leaf: leaf * 3.0 if leaf.ndim > 2 else leaf, model.params))
    write_model(directory, model.config, model.params, model.dtypes)
    return model, AutoModelForCausalLM.from_pretrained(directory).eval()


@partial(jax.jit, static_argnums=(0, 1, 4))
def _again(graphdef, config, params, tokens, new):
    """No cache: all columns are computed for every token, what is not written yet among them."""
    b, t = tokens.shape
    positions = jnp.broadcast_to(jnp.arange(t + new), (b, t + new))

    def step(i, ids):
        hidden = hidden_states(graphdef, params, ids, positions, jnp.ones_like(ids))
        last = jax.lax.dynamic_index_in_dim(hidden, t + i - 1, axis=1, keepdims=False)
        return ids.at[:, t + i].set(logits(config, params, last).argmax(axis=-1).astype(jnp.int32))

    return jax.lax.fori_loop(0, new, step, jnp.pad(tokens, ((0, 0), (0, new))))[:, t:]


def again(model: Model, prompts: Ids, new: int) -> Ids:
    tokens = jnp.asarray(np.array(prompts, np.int32))
    return np.asarray(_again(model.graphdef, model.config, model.params, tokens, new)).tolist()


@torch.no_grad()
def theirs(model: PreTrainedModel, prompts: Ids, new: int) -> Ids:
    tokens = torch.tensor(prompts)
    out = model.generate(
        tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=new, do_sample=False, eos_token_id=None
    )
    return out[:, tokens.shape[1] :].tolist()


def same(a: Sequence[Sequence[int]], b: Sequence[Sequence[int]]) -> float:
    return float(np.mean([x == y for one, other in zip(a, b, strict=True) for x, y in zip(one, other, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, size in (("layers", 8), ("hidden", 256), ("vocab", 8000), ("batch", 8), ("prompt", 64), ("new", 128)):
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        model, reference = models(options, Path(directory))
    prompts = np.random.default_rng(0).integers(3, options.vocab, (options.batch, options.prompt)).tolist()
    ours = partial(generate, model, max_new=options.new, batch_size=options.batch)
    ways: dict[str, Callable[[], Ids]] = {
        "transformers": lambda: theirs(reference, prompts, options.new),
        "cached": lambda: ours(prompts),
        "everything again": lambda: again(model, prompts, options.new),
        "cached, nucleus": lambda: ours(prompts, temperature=1.0, top_p=0.9),
        "cached, one row": lambda: ours(prompts[:1]),
        "transformers, one row": lambda: theirs(reference, prompts[:1], options.new),
    }
    first: dict[str, float] = {}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, Ids] = {}
    for name, way in ways.items():
        start = time.perf_counter()
        results[name] = way()
        first[name] = time.perf_counter() - start
    for _ in range(options.repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"{'':22} {'first run':>10} {'median':>9} {'tokens/s':>9}  x transformers  same")
    for name, took in median.items():
        rate = len(results[name]) * options.new / took
        beside = "transformers, one row" if "one row" in name else "transformers"
        agreement = "" if "nucleus" in name else f"{same(results[name], results[beside]):6.3f}"
        print(f"{name:22} {first[name]:8.2f} s {took:7.3f} s {rate:9.0f} {median[beside] / took:15.2f} {agreement}")


if __name__ == "__main__":
    main()
