"""The pocket encoder: the same numbers as transformers' BERT, and a loss that falls for a reason."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from saltjax.pocket import bert, mlm
from saltjax.pocket.tokenizers import train_wordpiece

SENTENCES = ["der Hund trinkt Wasser", "die Katze frisst Fisch", "das Kind liest Buch", "ein Baum braucht Sonne"]
LINES = list(np.random.default_rng(0).choice(SENTENCES, 200))


@pytest.fixture(scope="module")
def tokenizer():
    return train_wordpiece(LINES, 100)


def test_logits_are_those_of_transformers(tokenizer, tmp_path):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    shape = bert.Shape(len(tokenizer), hidden_size=24, layers=3, heads=4, positions=20)
    params = bert.init_params(shape, seed=0)
    leaves, tree = jax.tree.flatten(params)  # no zeros or ones: every bias and norm must be in its place
    keys = jax.random.split(jax.random.key(1), len(leaves))
    params = jax.tree.unflatten(
        tree, [x + 0.3 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    )
    bert.write_bert(tmp_path, params, shape.heads, tokenizer)
    model, report = AutoModelForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert type(model).__name__ == "BertForMaskedLM"

    batch = AutoTokenizer.from_pretrained(tmp_path)([*SENTENCES, "Fisch"], padding=True, return_tensors="np")
    tokens, mask = batch["input_ids"], batch["attention_mask"].astype(bool)
    ours = bert.token_logits(params, bert.hidden_states(params, jnp.asarray(tokens), jnp.asarray(mask), shape.heads))
    with torch.no_grad():
        theirs = model(torch.tensor(tokens), attention_mask=torch.tensor(mask)).logits.numpy()
    assert mask.sum() < mask.size  # padding is part of the comparison
    np.testing.assert_allclose(np.asarray(ours)[mask], theirs[mask], atol=1e-4, rtol=1e-4)


def test_bfloat16_weights_are_written(tokenizer, tmp_path):
    from safetensors import safe_open

    shape = bert.Shape(len(tokenizer), hidden_size=8, layers=1, heads=2, positions=8)
    params = bert.init_params(shape, seed=0)
    bert.write_bert(tmp_path, params, shape.heads, tokenizer, jnp.bfloat16)
    with safe_open(tmp_path / "model.safetensors", "np") as file:
        table = file.get_tensor("bert.embeddings.word_embeddings.weight")
        assert file.metadata() == {"format": "pt"} and table.dtype == jnp.bfloat16
    np.testing.assert_array_equal(table, np.asarray(params["embeddings"]["word"], jnp.bfloat16))


def test_training_beats_word_frequencies_and_repeats_itself(tokenizer):
    shape = bert.Shape(len(tokenizer), hidden_size=32, layers=1, heads=2, positions=8)
    recipe = mlm.Recipe(steps=250, batch_size=32, seq_len=8, learning_rate=5e-3, warmup_steps=10, log_every=50)
    first = mlm.train_mlm(LINES, tokenizer, shape, recipe, valid=LINES[:30])
    stream = mlm.token_stream(LINES, tokenizer)
    share = np.bincount(stream[stream != tokenizer.sep_token_id]) / (stream != tokenizer.sep_token_id).sum()
    entropy = -(share[share > 0] * np.log(share[share > 0])).sum()
    steps, losses, held_out = zip(*first.curve, strict=True)
    assert steps == (50, 100, 150, 200, 250)
    assert held_out[-1] < 0.5 * entropy and losses[-1] < losses[0]
    again = mlm.train_mlm(LINES, tokenizer, shape, recipe)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), first.params, again.params))


def test_only_hidden_words_are_predicted(tokenizer):
    """The hidden tokens are never [CLS] or [SEP], and a visible token's own score does not enter the loss."""
    shape = bert.Shape(len(tokenizer), hidden_size=8, layers=1, heads=2, positions=12)
    params = bert.init_params(shape, seed=0)
    ids = mlm.SpecialIds(tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.mask_token_id)
    word = tokenizer.convert_tokens_to_ids("Hund")
    windows = jnp.full((4, 12), ids.sep).at[:, 0].set(ids.cls).at[:, 3].set(word)
    params["head"]["bias"] = params["head"]["bias"].at[word].set(50.0)  # certain of the only word there is
    loss = mlm.masked_loss(params, jax.random.key(0), windows, ids, shape, 0.5)
    assert float(loss) < 1e-6


def test_too_little_text_is_refused(tokenizer):
    shape = bert.Shape(len(tokenizer), hidden_size=8, layers=1, heads=2, positions=16)
    with pytest.raises(ValueError, match="fewer than one window"):
        mlm.train_mlm(["der Hund"], tokenizer, shape, mlm.Recipe(steps=1, seq_len=16))
    with pytest.raises(ValueError, match="16 positions"):
        mlm.train_mlm(LINES, tokenizer, shape, mlm.Recipe(steps=1, seq_len=32))


def test_hidden_words_cannot_be_seen(tokenizer):
    """An encoder that repeats whatever word it sees has nothing to repeat where a word is hidden."""
    shape = bert.Shape(len(tokenizer), hidden_size=64, layers=1, heads=2, positions=12)
    params = bert.init_params(shape, seed=0)
    table = jax.random.normal(jax.random.key(2), (shape.vocab_size, 64))
    params["embeddings"] |= {"word": table, "position": jnp.zeros((12, 64))}
    params["blocks"] |= {name: jax.tree.map(jnp.zeros_like, params["blocks"][name]) for name in ("attended", "down")}
    ids = mlm.SpecialIds(tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.mask_token_id)
    words = jax.random.randint(jax.random.key(3), (64, 12), 5, shape.vocab_size).at[:, 0].set(ids.cls)
    seen = bert.token_logits(params, bert.hidden_states(params, words, jnp.ones_like(words, bool), shape.heads))
    assert (seen.argmax(-1) == words).mean() > 0.99  # it does repeat
    assert mlm.masked_loss(params, jax.random.key(0), words, ids, shape, 0.3) > np.log(shape.vocab_size)
