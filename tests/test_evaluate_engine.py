"""Trees, rows and the programs that score them; texts that the model writes; on a mesh."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

from saltjax.errors import UserError
from saltjax.evaluate import answers
from saltjax.evaluate.answers import holding, prompts, spelled, written
from saltjax.evaluate.loglikelihood import _scored, loglikelihoods
from saltjax.evaluate.rows import batch, rows
from saltjax.evaluate.task import Question
from saltjax.evaluate.trees import Tree, common, pairs, trees
from saltjax.models import generate, hidden_states, load_model, logits
from saltjax.train.config import MeshConfig
from saltjax.train.mesh import batch_sharding, make_mesh
from saltjax.train.sharding import param_shardings

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return zoo.llama(tmp_path_factory.mktemp("llama") / "m", dtype="float32", initializer_range=0.3)


@pytest.fixture(scope="module")
def model(path):
    return load_model(path)


@pytest.fixture(scope="module")
def tokenizer(path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path)


def questions(count=14, shared=0, seed=0):
    """Choices of random ids: (ids, how many are context), of 1 to 6 choices, some one token long, some alike."""
    rng = np.random.default_rng(seed)
    begin = rng.integers(5, 500, shared).tolist()
    made = []
    for index in range(count):
        context = begin + rng.integers(5, 500, rng.integers(1, 30)).tolist()
        same = rng.integers(5, 500, rng.integers(0, 6) * (index % 2)).tolist()
        choices = [same + rng.integers(5, 500, rng.integers(1, 9)).tolist() for _ in range(1 + index % 6)]
        made.append([(context + choice, len(context)) for choice in choices])
    made[0] = [(ids, 0) for ids, _ in made[0]]  # without a context: all but the first id is scored
    return made


@pytest.fixture(scope="module")
def plainly(model):
    """Each choice alone, all logits, no cache: the definition."""

    @jax.jit
    def logs(tokens):
        positions = jnp.arange(tokens.shape[1])[None]
        hidden = hidden_states(model.graphdef, model.params, tokens, positions, jnp.ones_like(tokens))
        return jax.nn.log_softmax(logits(model.config, model.params, hidden)[0])

    def value(ids, before):
        table = np.asarray(logs(np.pad(np.array([ids], np.int32), ((0, 0), (0, 128 - len(ids))))), np.float64)
        return sum(table[at - 1, ids[at]] for at in range(max(1, before), len(ids)))

    return lambda asked: [[value(*choice) for choice in question] for question in asked]


def close(found, expected):
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(expected), atol=2e-4, rtol=1e-5)


def collected(asked, *args, **how):
    found = dict(loglikelihoods(*args, asked, **how))
    return [found[number] for number in range(len(asked))]


def test_choices_of_all_kinds_score_as_each_alone(model, plainly, monkeypatch):
    asked = questions()
    expected = plainly(asked)
    close(collected(asked, model, batch_size=1), expected)
    monkeypatch.setattr("saltjax.evaluate.loglikelihood.CHUNK", 5000)  # several chunks of logits
    close(collected(questions(9), model), plainly(questions(9)))


def test_what_all_questions_begin_with_is_computed_once(model, plainly, monkeypatch):
    asked = questions(10, shared=70)[1:]
    seen = []
    monkeypatch.setattr("saltjax.evaluate.loglikelihood._scored", lambda *args: seen.append(args) or _scored(*args))
    close(collected(asked, model), plainly(asked))
    assert all(args[5].keys.shape[-1] >= 70 and args[6].tokens.shape[1] <= 48 for args in seen)


def test_one_token_choices_need_no_second_pass(model, plainly, monkeypatch):
    asked = [
        [([*ids[:before], 9 + i], before) for i, (ids, before) in enumerate(question)] for question in questions()[1:]
    ]
    monkeypatch.setattr("saltjax.evaluate.loglikelihood.continued", None)  # it would fail
    close(collected(asked, model), plainly(asked))


def test_a_mesh_scores_as_one_device(path, model, plainly):
    mesh = make_mesh(MeshConfig(2, 2, 2))
    parted = load_model(path, partial(param_shardings, mesh=mesh), pad_vocab_to=8)
    asked = questions(9)
    close(collected(asked, parted, sharding=batch_sharding(mesh)), plainly(asked))
    shown = questions(6, shared=70)[1:]
    close(collected(shown, parted, sharding=batch_sharding(mesh)), plainly(shown))


def test_bfloat16_is_the_computations_dtype(model, plainly):
    asked = questions(6)
    found = np.concatenate(collected(asked, model, dtype=jnp.bfloat16))
    assert 1e-4 < np.abs(found - np.concatenate(plainly(asked))).max() < 2.0


def test_trees():
    a, b, c = [1, 2, 3, 4], [1, 2, 3, 5, 6], [1, 2, 3, 4, 7]
    assert trees([(a, 2), (b, 2), (c, 2)]) == [Tree([1, 2, 3], 2, [[4], [5, 6], [4, 7]], [0, 1, 2])]
    assert trees([(a, 2)]) == [Tree([1, 2, 3], 2, [[4]], [0])]
    assert trees([([1, 2, 3], 2), ([1, 2, 3], 2)]) == [Tree([1, 2], 2, [[3], [3]], [0, 1])]
    cut = [([2, 3, 4], 1), ([3, 9, 5, 6], 1)]  # the second lost one more of its context: nothing is in common
    assert trees(cut) == [Tree([2, 3], 1, [[4]], [0]), Tree([3, 9, 5], 1, [[6]], [1])]
    assert [tree.owners for tree in trees([(a, 2)] * 6)] == [[0, 1, 2, 3], [4, 5]]
    assert common([[1, 2, 3], [1, 2]]) == 1


def test_rows_hold_every_token_once_and_waste_little():
    rng = np.random.default_rng(0)
    forest = []
    for _ in range(300):
        context = rng.integers(1, 99, rng.integers(5, 90)).tolist()
        forest += trees([(context + rng.integers(1, 99, rng.integers(1, 20)).tolist(), len(context)) for _ in range(4)])
    first = np.cumsum([0, *(len(tree.branches) for tree in forest)]).tolist()
    shapes, places, real = set(), 0, 0
    per_choice = np.zeros(first[-1], int)
    for shape, some in rows(forest):
        shapes.add(shape)
        arrays, owners = batch(shape, some, len(some), first)
        for owner, targets in ((owners.trunk, arrays.targets), (owners.side, arrays.side_targets)):
            per_choice += np.bincount(owner[owner >= 0], minlength=first[-1])
            assert (targets[owner >= 0] > 0).all()
        places += arrays.tokens.size + arrays.side_tokens.size
        real += (arrays.segments > 0).sum() + (arrays.side_segments > 0).sum()
    assert per_choice.tolist() == [
        len(tree.trunk) - tree.scored + len(branch) for tree in forest for branch in tree.branches
    ]
    assert len(shapes) == 1 and real / places > 0.75


def test_rows_stay_narrow_where_there_is_no_context():
    rng = np.random.default_rng(0)
    forest = [
        tree
        for _ in range(300)
        for tree in trees([([1, *rng.integers(1, 99, rng.integers(40, 60)).tolist()], 1) for _ in range(4)])
    ]
    for shape, some in rows(forest):
        assert shape.side <= shape.width == 256
        columns = sum(len(branch) - 1 for row in some for _, tree, _, _ in row.placed for branch in tree.branches)
        assert columns > 0.75 * len(some) * shape.branches * shape.side


def test_pairs_are_cut_on_the_left_and_counted(tokenizer):
    text = "ein kleines Haus am Fluss "
    whole = tokenizer.encode(text + "x yz")
    asked = [Question("1", text, 0, ("x yz", "x"), before="")]
    found = pairs(tokenizer, asked, 1000)
    assert found.pairs[0][0] == (whole, len(tokenizer.encode(text.strip()))) and not found.truncated
    few = pairs(tokenizer, asked, 4)
    assert few.pairs[0][0][0] == whole[-5:] and few.truncated == 2
    assert few.pairs[0][0][1] == found.pairs[0][0][1] - (len(whole) - 5)
    alone = pairs(tokenizer, [Question("1", "", 0, ("Haus", "Baum"))], 9).pairs[0][0]
    assert alone == ([tokenizer.bos_token_id, *tokenizer.encode(" Haus", add_special_tokens=False)], 1)
    with pytest.raises(UserError, match="question 7: the choice '' has no tokens"):
        pairs(tokenizer, [Question("7", "x", 0, ("",), before="")], 9)


def test_written_answers_end_at_stop_strings(model, tokenizer, monkeypatch):
    """Against one long generation, cut afterwards; rounds of 5 tokens, so that texts go on in another."""
    monkeypatch.setattr(answers, "ROUND", 5)
    texts = ["ein Haus", "Wasser und", "am Morgen gehen wir zum Fluss", "x"]
    ids = prompts(tokenizer, texts, 100).ids
    assert ids == [tokenizer.encode(text) for text in texts]
    rows = generate(model, ids, 10)
    free = [tokenizer.decode(row, skip_special_tokens=True) for row in rows]
    stops, eos = (free[0][7:10], free[1][3]), rows[2][3]  # which ends the row in the first of two rounds
    cut = dict(written(model, tokenizer, ids, stops, 10, eos_ids=[eos]))
    for number, row in enumerate(rows):
        text = tokenizer.decode(row[: row.index(eos) + 1] if eos in row else row, skip_special_tokens=True)
        assert cut[number] == text[: min((text.find(stop) for stop in stops if stop in text), default=None)]
    assert len(cut[0]) == 7 and len(cut[1]) == 3 and free[3].startswith(cut[3])


def test_stops_as_the_tokenizer_writes_them(tokenizer):
    lines = holding(tokenizer, ("\n",))
    assert lines and all("\n" in tokenizer.decode([one]) for one in lines)
    assert set(range(len(tokenizer))) - set(lines) == {
        one for one in range(len(tokenizer)) if "\n" not in tokenizer.decode([one])
    }
    bert = zoo.tokenizer("wordpiece", "de")
    assert spelled(bert, ("\n", "Haus-")) == ["\n", "Haus-", "Haus -"]
    assert spelled(bert, ("\n", "Haus☃")) == ["\n", "Haus☃"]  # it has no ☃, and Haus alone is no stop


def test_prompts_are_cut_on_the_left_and_counted(tokenizer):
    found = prompts(tokenizer, ["ein kleines Haus", "x"], 3)
    assert found.ids[0] == tokenizer.encode("ein kleines Haus")[-3:] and found.truncated == 1
