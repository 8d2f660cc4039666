import lzma
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from transformers import AutoTokenizer

from saltjax.errors import UserError
from saltjax.evaluate import bits_per_byte as module
from saltjax.evaluate.bits_per_byte import bits_per_byte, held_out, score, token_nll
from saltjax.models.load import load_model

torch = pytest.importorskip("torch")

LINES = [
    *zoo.sentences("de", 12),
    "",
    "ein Satz mit \r und \u2028 und \x85 darin",
    "x",
    "ein Wort nach dem anderen " * 20,  # several windows
    "",
    "   ",
    "letzte Zeile ohne Ende",
]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_bytes("\n".join(LINES).encode())
    return path


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return zoo.llama(tmp_path_factory.mktemp("llama") / "m", dtype="float32", initializer_range=0.3)


@pytest.fixture(scope="module")
def oracle(directory):
    """The definition as a plain loop over torch in float64: seq_len -> (bits per byte, bytes)."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory).double().eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)

    def evaluate(seq_len, lines=LINES):
        nats, size = 0.0, 0
        for line in lines:
            if not line:
                continue
            size += len(line.encode())
            ids = tokenizer(line, add_special_tokens=False).input_ids
            for start in range(0, len(ids), seq_len - 1):
                window = [tokenizer.bos_token_id, *ids[start : start + seq_len - 1]]
                with torch.no_grad():
                    logp = model(torch.tensor([window])).logits[0].log_softmax(-1)
                nats -= sum(logp[i - 1, window[i]].item() for i in range(1, len(window)))
        return nats / math.log(2) / size, size

    return evaluate


@pytest.fixture(scope="module")
def parts(directory):
    return load_model(directory), AutoTokenizer.from_pretrained(directory)


@pytest.mark.parametrize("seq_len, batch_size", [(16, 3), (64, 8), (128, 1)])
def test_it_is_the_definition(parts, text, oracle, seq_len, batch_size):
    model, tokenizer = parts
    result = bits_per_byte(model, tokenizer, text, seq_len, batch_size)
    expected, size = oracle(seq_len)
    assert result.bits_per_byte == pytest.approx(expected, rel=1e-5)
    assert result.bytes == size and result.documents == sum(1 for line in LINES if line)
    assert result.tokens == sum(len(tokenizer(line, add_special_tokens=False).input_ids) for line in LINES)
    low, high = result.interval
    assert low < result.bits_per_byte < high


def test_logits_in_chunks_and_padded_rows_change_nothing(directory, parts, text, oracle, monkeypatch):
    model, tokenizer = parts
    monkeypatch.setattr(module, "CHUNK_LOGITS", 5 * 2 * model.config.vocab_size)  # 5 does not divide 64
    jax.clear_caches()
    assert bits_per_byte(model, tokenizer, text, 64, 2).bits_per_byte == pytest.approx(oracle(64)[0], rel=1e-5)
    padded = load_model(directory, pad_vocab_to=100)
    assert padded.config.vocab_rows % 100 == 0
    assert bits_per_byte(padded, tokenizer, text, 64, 2).bits_per_byte == pytest.approx(oracle(64)[0], rel=1e-5)


def test_memory_is_bounded_by_the_chunk(parts, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_LOGITS", 2 * 4 * 50_000)
    jax.clear_caches()
    model, _ = parts
    config = replace(model.config, vocab_size=50_000, vocab_rows=50_000)
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((50_000, 32) if leaf.shape[0] == 512 else leaf.shape, leaf.dtype),
        model.params,
    )
    batch = dict.fromkeys(("tokens", "segments", "positions"), jax.ShapeDtypeStruct((4, 64), jnp.int32))
    lowered = token_nll.lower(config, model.graphdef, shapes, **batch, dtype=jnp.dtype("float32"))
    temporary = lowered.compile().memory_analysis().temp_size_in_bytes
    assert temporary < 0.5 * 4 * 64 * 50_000 * 4


def test_bfloat16_is_near(parts, text, oracle):
    model, tokenizer = parts
    result = bits_per_byte(model, tokenizer, text, 64, 4, dtype="bfloat16")
    assert result.bits_per_byte == pytest.approx(oracle(64)[0], rel=2e-2)
    assert result.bits_per_byte != pytest.approx(oracle(64)[0], rel=1e-6)


def test_params_on_a_mesh(directory, parts, text, oracle):
    _, tokenizer = parts
    mesh = jax.make_mesh((2, 2, 2), ("data", "fsdp", "tensor"), axis_types=(AxisType.Auto,) * 3)

    def shardings(abstract):
        def one(leaf):
            spec = (
                PartitionSpec("tensor", "fsdp") if leaf.shape[0] % 2 == 0 and len(leaf.shape) == 2 else PartitionSpec()
            )
            return NamedSharding(mesh, spec)

        return jax.tree.map(one, abstract)

    model = load_model(directory, shardings)
    result = bits_per_byte(model, tokenizer, text, 64, batch_size=3)  # rounded up to 4 rows
    assert result.bits_per_byte == pytest.approx(oracle(64)[0], rel=1e-5)


def test_prepared_text_is_scored_again_without_compiling(parts, text):
    model, tokenizer = parts
    held = held_out(text, tokenizer, 32)
    first = score(model.config, model.graphdef, model.params, held, 4)
    compiled = token_nll._cache_size()
    worse = jax.tree.map(lambda x: x * 1.5, model.params)
    assert score(model.config, model.graphdef, worse, held, 4).bits_per_byte != first.bits_per_byte
    assert score(model.config, model.graphdef, model.params, held, 4) == first
    assert token_nll._cache_size() == compiled


def test_packed_file_and_byte_order_mark_score_the_same(parts, text, tmp_path):
    model, tokenizer = parts
    expected = bits_per_byte(model, tokenizer, text, 64)
    (tmp_path / "a.txt.xz").write_bytes(lzma.compress(b"\xef\xbb\xbf" + text.read_bytes() + b"\n"))
    assert bits_per_byte(model, tokenizer, tmp_path / "a.txt.xz", 64) == expected


def test_one_document_has_no_interval(parts, tmp_path, oracle):
    (tmp_path / "a.txt").write_text("eins zwei drei\n")
    result = bits_per_byte(*parts, tmp_path / "a.txt", 8)
    assert result.interval is None
    assert result.bits_per_byte == pytest.approx(oracle(8, ["eins zwei drei"])[0], rel=1e-5)


def test_the_interval_covers_what_it_should():
    """Of many samples of documents, about 95 % have the true ratio inside."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        size = rng.integers(20, 200, 60)
        bits = size * rng.normal(2.0, 0.4, 60)
        low, high = module.interval(bits, size)
        inside += low < 2.0 < high
    assert 0.91 < inside / 400 < 0.98


def test_unknown_tokens_are_counted(tmp_path):
    directory = zoo.llama(tmp_path / "m", tokenizer="wordpiece", dtype="float32")
    (tmp_path / "a.txt").write_text("hello 日本 ☃\n \n", encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(directory)
    result = bits_per_byte(load_model(directory), tokenizer, tmp_path / "a.txt", 16)
    assert result.unknown == 3 and result.documents == 2


def test_mistakes(parts, text, tmp_path):
    model, tokenizer = parts
    with pytest.raises(UserError, match=r"seq_len=129 is more than the model's 128"):
        bits_per_byte(model, tokenizer, text, 129)
    with pytest.raises(UserError, match="seq_len=1 "):
        bits_per_byte(model, tokenizer, text, 1)
    small = model._replace(config=replace(model.config, vocab_size=100, vocab_rows=512))
    with pytest.raises(UserError, match=r"gives id \d+, but the model has 100 embedding rows"):
        bits_per_byte(small, tokenizer, text, 16)
    with pytest.raises(UserError, match="does not exist"):
        bits_per_byte(model, tokenizer, tmp_path / "no.txt", 16)
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(UserError, match="holds no document"):
        bits_per_byte(model, tokenizer, tmp_path / "empty.txt", 16)
