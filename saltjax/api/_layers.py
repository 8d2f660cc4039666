"""layers find: the layers that languages use most differently."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saltjax.api._activations import opened
from saltjax.errors import UserError
from saltjax.hub.directory import whole_directory
from saltjax.layers.choice import chosen, setting
from saltjax.layers.dispersion import SHARE, activated, dispersion, overlap
from saltjax.layers.picture import draw
from saltjax.neurons.collect import collect
from saltjax.neurons.text import by_language

REFERENCE = "en"


def layers_find(
    model: str | Path,
    out: str | Path,
    *,
    text: Sequence[str | Path],
    rule: str = "prefix",
    count: int | None = None,
    layers: Sequence[int] = (),
    share: float = SHARE,
    tokens: int | None = None,
    seq_len: int | None = None,
    dtype: str | None = None,
    batch_size: int = 16,
    overwrite: bool = False,
    reading: Callable[..., None] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Write layers.json and layers.png to the directory `out`: for each layer of MODEL how much the number of activated
    neurons differs between languages, and how far each language shares them with English.

    `text`: LANG=FILE of at least two languages, one of them `en`; it should be parallel, so that languages differ and
    not what is said; at most `tokens` tokens of each. A neuron is activated in a language where it is above 0 for more
    than `share` of the tokens. `rule` (prefix, top, manual), `count` and `layers`: see `layers.choice.chosen`.

    Returns out, rule, layers, dispersion, overlap{LANG}, activated{LANG}, trainable (the setting that trains exactly
    these layers' up and down projections). Raises UserError.
    """
    languages = by_language(text)
    if REFERENCE not in languages or len(languages) < 2:
        raise UserError(f"languages are compared with English: give --text {REFERENCE}=FILE and at least one other")
    if not 0 < share < 1:
        raise UserError(f"--share {share} is not between 0 and 1")
    with whole_directory(out, overwrite) as partial_out:
        run, texts, provenance = opened(model, text, "post", seq_len, tokens, dtype, batch_size, reading)
        chosen(np.zeros(run.model.config.layers), rule, count, layers)  # says what is wrong before the work
        found = {}
        for language, one in texts.items():
            tell = None if progress is None else lambda done, of, language=language: progress(language, done, of)
            shape = (run.model.config.layers, 0, run.model.config.mlp_size)
            found[language] = collect(run, one, np.zeros(shape, np.float32), tell=tell)
        sets = activated(found, share)
        spread, common = dispersion(sets), overlap(sets, REFERENCE)
        picked = chosen(spread, rule, count, layers)
        record = {
            "rule": rule,
            "layers": picked,
            "dispersion": spread.tolist(),
            "overlap": {language: values.tolist() for language, values in common.items()},
            "activated": {language: own.sum(axis=1).tolist() for language, own in sets.items()},
            "share": share,
            "tokens": {language: one.tokens for language, one in found.items()},
            "trainable": setting(picked),
        }
        described = json.dumps({**record, "provenance": provenance}, ensure_ascii=False)
        (partial_out / "layers.json").write_text(described + "\n", encoding="utf-8")
        draw(partial_out / "layers.png", spread, common, REFERENCE, picked)
    return {"out": str(out), **record}
