"""neurons find: which neurons belong to a language."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from saltjax.api._activations import opened
from saltjax.errors import UserError
from saltjax.hub.directory import whole_directory
from saltjax.neurons.compare import by_layer, jaccard, shared, table
from saltjax.neurons.files import PERCENTS, WAYS, write_neurons, write_statistics
from saltjax.neurons.methods import check, find
from saltjax.neurons.pictures import draw_layers, draw_overlap
from saltjax.neurons.text import by_language
from saltjax.train.neuronsets import SPARSE


def neurons_find(
    model: str | Path,
    out: str | Path,
    *,
    text: Sequence[str | Path],
    method: str = "lape",
    point: str = "post",
    rate: float | None = None,
    percentiles: str = "sketch",
    tokens: int | None = None,
    seq_len: int | None = None,
    dtype: str | None = None,
    batch_size: int = 16,
    overwrite: bool = False,
    reading: Callable[..., None] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Write neurons.json, stats.safetensors, layers.png and overlap.png to the directory `out`.

    `text`: LANG=FILE..., in any format of `adapt`; of each language at most `tokens` tokens (all of them). The tokens
    that count are those of the bits-per-byte windows of `seq_len` without BOS. `method`: `neurons.methods`. `point`:
    before (`pre`) or after (`post`) the activation function, or the gated `product`. `rate`: the share of all neurons
    that are chosen. `percentiles` in stats.safetensors: of all tokens, by a `sketch`; or the means over `batches` (of
    `batch_size` windows) of each batch's own, as in the published code, whose batches are 4 x 512.

    An interrupted pass goes on where it was when the same command is given again.

    Returns out, method, point, tokens{LANG}, neurons{LANG: number}, by_layer{LANG[...]}, shared{LANG{LANG}}, jaccard,
    trainable{LANG} (the setting that trains exactly these neurons). Raises UserError.
    """
    check(method, rate, len(by_language(text)))
    if percentiles not in WAYS:
        raise UserError(f"--percentiles {percentiles} is not known; there are {', '.join(WAYS)}")
    batch_percents = tuple(map(float, PERCENTS)) if percentiles == "batches" else ()
    with whole_directory(out, overwrite) as partial_out:
        run, texts, provenance = opened(model, text, point, seq_len, tokens, dtype, batch_size, reading)
        found = find(run, texts, method, rate, progress, batch_percents)
        languages = list(texts)
        write_neurons(partial_out, method, point, languages, found.neurons, provenance)
        write_statistics(partial_out, found.statistics, {**provenance, "method": method, "percentiles": percentiles})
        draw_layers(partial_out / "layers.png", languages, found.neurons)
        draw_overlap(partial_out / "overlap.png", languages, found.neurons)
    sizes, common = found.neurons.sum(axis=(1, 2)), shared(found.neurons)
    return {
        "out": str(out),
        "method": method,
        "point": point,
        "tokens": {language: one.tokens for language, one in found.statistics.items()},
        "neurons": dict(zip(languages, sizes.tolist(), strict=True)),
        "by_layer": dict(zip(languages, by_layer(found.neurons).tolist(), strict=True)),
        "shared": table(languages, languages, common),
        "jaccard": table(languages, languages, jaccard(found.neurons)),
        "trainable": {language: f"{SPARSE}{out}@{language}" for language in languages},
    }
