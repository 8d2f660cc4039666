"""The layers that languages use differently: dispersion and overlap in plain loops, the rules, the setting to train."""

import json

import numpy as np
import pytest
import zoo
from neuronal import LANGUAGES, activations, files

from saltjax.errors import UserError
from saltjax.layers.choice import chosen, setting
from saltjax.models import DecoderConfig, abstract_model
from saltjax.train.trainable import count, trainable


def test_find(saltjax, tmp_path):
    directory = zoo.llama(tmp_path / "m", dtype="float32", initializer_range=0.3)
    paths = files(tmp_path)
    text = [f"{language}={path}" for language, path in paths.items()]
    find = ("layers", "find", directory, tmp_path / "l", "--text", *text, "--seq-len", 16, "--share", 0.45, "--json")
    status, out, err = saltjax(*find)
    assert status == 0, err
    record = json.loads(out)
    stored = json.loads((tmp_path / "l" / "layers.json").read_text())
    assert {key: stored[key] for key in record if key != "out"} == {k: v for k, v in record.items() if k != "out"}
    assert stored["provenance"]["text_sha256"] and (tmp_path / "l" / "layers.png").stat().st_size > 5000

    active = {}
    for language, path in paths.items():
        h = activations(directory, path)["post"]
        share = (h > 0).mean(axis=1)
        assert np.abs(share - 0.45).min() > 1e-4  # no neuron on the edge, where rounding decides
        active[language] = [{j for j in range(48) if share[i, j] > 0.45} for i in range(2)]
    for layer in range(2):
        counts = [len(active[language][layer]) for language in LANGUAGES]
        mean = sum(counts) / 3
        assert record["dispersion"][layer] == pytest.approx(sum((n - mean) ** 2 for n in counts) / 3)
        for language in ("de", "vi"):
            own = active[language][layer]
            assert record["overlap"][language][layer] == pytest.approx(len(own & active["en"][layer]) / len(own))
    assert set(record["overlap"]) == {"de", "vi"} and max(record["dispersion"]) > 0
    assert record["layers"] == chosen(np.array(record["dispersion"]), "prefix")

    for arguments, message in [
        (("--text", text[1], text[2]), "compared with English: give --text en=FILE"),
        (("--text", *text, "--rule", "manual"), "--rule manual and --layers 0,1,2 go together"),
        (("--text", *text, "--rule", "manual", "--layers", "0,x"), "--layers 0,x: expected layer numbers"),
        (("--text", *text, "--share", "1"), "--share 1.0 is not between 0 and 1"),
    ]:
        status, _, err = saltjax("layers", "find", directory, tmp_path / "x", *arguments)
        assert status == 2 and message in err and not (tmp_path / "x").exists(), err


def test_rules():
    spread = np.array([9.0, 7.0, 1.0, 8.0, 0.0, 0.5])
    assert chosen(spread, "prefix") == [0, 1]
    assert chosen(spread, "prefix", 3) == [0, 1, 2]
    assert chosen(spread, "top", 3) == [0, 1, 3]
    assert chosen(np.arange(32.0), "top") == [26, 27, 28, 29, 30, 31]
    assert chosen(spread, "manual", layers=[-1, 0, 0]) == [0, 5]
    assert chosen(np.ones(3), "prefix") == [0, 1, 2]
    assert chosen(spread[::-1], "prefix") == [0]
    for arguments, message in [
        (("best",), "--rule best is not known; there are prefix, top, manual"),
        (("top", 7), "--count 7: from 1 to the 6 layers"),
        (("prefix", None, [1]), "--rule manual and --layers"),
        (("manual", None, [6]), "there is no layer 6; the model has layers 0 to 5"),
    ]:
        with pytest.raises(UserError, match=message):
            chosen(spread, *arguments)


@pytest.mark.parametrize("hidden, mlp, depth, share", [(4096, 11008, 32, 0.0803), (5120, 13824, 40, 0.0653)])
def test_the_setting_trains_the_papers_share(hidden, mlp, depth, share):
    """Llama-2 7B and 13B: six layers' up and down projections are 8.03 % and 6.53 % of all parameters."""
    heads = hidden // 128
    config = DecoderConfig(
        vocab_size=32000, hidden_size=hidden, layers=depth, heads=heads, kv_heads=heads, head_dim=128, mlp_size=mlp,
        max_positions=4096,
    )  # fmt: skip
    _, params = abstract_model(config)
    mask = trainable(params, setting(range(6)).removeprefix("trainable="))
    learning = count(params, mask)
    assert learning == 6 * 2 * hidden * mlp
    assert learning / count(params, trainable(params, "full")) == pytest.approx(share, abs=5e-5)
