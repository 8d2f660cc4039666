"""Which parameters learn: a mask over the tree, and the split of the tree that it means.

A mask holds for each parameter True (learns), False (frozen) or, for stacked layers [L, ...], the tuple of layers
that learn. `select` cuts out what learns, and that alone is differentiated and given moments; `merge` puts it back.
Cost, stated: wholly frozen parameters cost no weight gradient. A stacked parameter of which some layers learn has
the gradient of all its layers computed in the backward scan (then cut), though moments only for those that learn.
"""

import fnmatch
from typing import Any

import numpy as np

from saltjax.errors import UserError
from saltjax.train.sharding import leaves, nested

Mask = dict[str, bool | tuple[int, ...]]
EMBEDDINGS = ("embed.table", "head.table", "head.bias")


def trainable(params: dict, spec: str) -> Mask:
    """The mask {path: learns} of `spec`: `full`, `embeddings` (input, head and its bias), `layers:0,1,-1`,
    a path pattern with wildcards (`layers.mlp.*`), or several of these joined by `+`.

    UserError: no such layer, a pattern that matches nothing, LoRA.
    """
    shapes = {path: x.shape for path, x in leaves(params)}
    mask: Mask = dict.fromkeys(shapes, False)
    for part in spec.split("+"):
        for path, learns in _one(shapes, part.strip()).items():
            mask[path] = _union(mask[path], learns)
    depth = _depth(shapes)
    return {path: learns if learns != tuple(range(depth)) else True for path, learns in mask.items()}


def _one(shapes: dict[str, tuple[int, ...]], spec: str) -> Mask:
    if spec == "full":
        return dict.fromkeys(shapes, True)
    if spec == "embeddings":
        return {path: True for path in shapes if path in EMBEDDINGS}
    if spec == "lora":
        raise UserError("trainable=lora is not there yet; use full, embeddings, layers:0,1,-1 or a path pattern")
    if spec.startswith("layers:"):
        depth, text = _depth(shapes), spec.removeprefix("layers:")
        try:
            chosen = [int(index) for index in text.split(",")]
        except ValueError:
            raise UserError(f"trainable={spec}: expected layer numbers, as in layers:0,1,-1") from None
        if wrong := [index for index in chosen if not -depth <= index < depth]:
            raise UserError(f"trainable={spec}: there is no layer {wrong[0]}; the model has layers 0 to {depth - 1}")
        layers = tuple(sorted({index % depth for index in chosen}))
        return {path: layers for path in shapes if path.startswith("layers.")}
    if found := fnmatch.filter(shapes, spec):
        return dict.fromkeys(found, True)
    raise UserError(
        f"trainable={spec} matches no parameter; use full, embeddings, layers:0,1,-1 or a pattern over "
        + ", ".join(shapes)
    )


def _depth(shapes: dict[str, tuple[int, ...]]) -> int:
    return next(shape[0] for path, shape in shapes.items() if path.startswith("layers."))


def _union(a: bool | tuple[int, ...], b: bool | tuple[int, ...]) -> bool | tuple[int, ...]:
    if a is True or b is True:
        return True
    return tuple(sorted({*(a or ()), *(b or ())})) or False


def select(params: dict, mask: Mask) -> dict[str, Any]:
    """{path: what learns of it}: whole arrays, or the learning layers [len(layers), ...] of stacked ones."""
    return {path: _cut(x, mask[path]) for path, x in leaves(params) if mask[path]}


def _cut(x: Any, learns: bool | tuple[int, ...]) -> Any:
    return x if isinstance(learns, bool) else x[np.array(learns)]


def merge(params: dict, learning: dict[str, Any], mask: Mask) -> dict:
    """`params` with what learns put back in its place; the inverse of `select`."""

    def put(path: str, x: Any) -> Any:
        learns = mask[path]
        if isinstance(learns, bool):
            return learning[path] if learns else x
        return x.at[np.array(learns)].set(learning[path])

    return nested({path: put(path, x) for path, x in leaves(params)})


def count(params: dict, mask: Mask) -> int:
    """How many numbers learn."""
    total = 0
    for path, x in leaves(params):
        learns = mask[path]
        total += x.size * learns if isinstance(learns, bool) else x.size // x.shape[0] * len(learns)
    return total
