"""Where each parameter lies on the mesh: rules as data, every parameter must match one.

Each big matrix is split twice: its hidden side over `fsdp` (gathered when a layer runs), its wide side (heads, MLP,
vocabulary) over `tensor` (computed in parts). Norm scales and biases of the hidden size are small and replicated.
"""

import re
from collections.abc import Iterator
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

RULES: tuple[tuple[str, P], ...] = (
    (r"(embed|head)\.table", P("tensor", "fsdp")),  # [V, d]
    (r"head\.bias", P("tensor")),  # [V]
    (r"layers\.attn\.[qkv]", P(None, "fsdp", "tensor", None)),  # [L, d, h, k]
    (r"layers\.attn\.o", P(None, "tensor", None, "fsdp")),  # [L, h, k, d]
    (r"layers\.attn\.[qkv]_bias", P(None, "tensor", None)),  # [L, h, k]
    (r"layers\.mlp\.(gate|up)", P(None, "fsdp", "tensor")),  # [L, d, f]
    (r"layers\.mlp\.(gate|up)_bias", P(None, "tensor")),  # [L, f]
    (r"layers\.mlp\.down", P(None, "tensor", "fsdp")),  # [L, f, d]
    (r"layers\.moe\.router", P(None, "fsdp", None)),  # [L, d, E]
    (r"layers\.moe\.(gate|up)", P(None, None, "fsdp", "tensor")),  # [L, E, d, f]
    (r"layers\.moe\.down", P(None, None, "tensor", "fsdp")),  # [L, E, f, d]
    (r"lora\.layers\.(attn\.[qkv]|mlp\.(gate|up))\.a", P(None, "fsdp", None)),  # [L, d, r]
    (r"lora\.layers\.attn\.[qkv]\.b", P(None, None, "tensor", None)),  # [L, r, h, k]
    (r"lora\.layers\.attn\.o\.a", P(None, "tensor", None, None)),  # [L, h, k, r]
    (r"lora\.layers\.mlp\.(gate|up)\.b", P(None, None, "tensor")),  # [L, r, f]
    (r"lora\.layers\.mlp\.down\.a", P(None, "tensor", None)),  # [L, f, r]
    (r"lora\.layers\.(attn\.o|mlp\.down)\.b", P(None, None, "fsdp")),  # [L, r, d]
    (r"positions\.table", P(None, "fsdp")),  # [P, d]
    (r".*norm\.(scale|bias)|layers\.attn\.o_bias|layers\.mlp\.down_bias", P()),
)


def leaves(params: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, leaf) of a nested dict, in a fixed (sorted) order: `layers.attn.q`."""
    for key in sorted(params):
        if isinstance(params[key], dict):
            yield from leaves(params[key], f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", params[key]


def nested(flat: dict[str, Any]) -> dict:
    """The inverse of `leaves`."""
    tree: dict = {}
    for path, leaf in flat.items():
        *parents, last = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return tree


def rule(path: str) -> P:
    """The PartitionSpec of a parameter; ValueError when no rule matches it (a model family without its rules)."""
    for pattern, spec in RULES:
        if re.fullmatch(pattern, path):
            return spec
    raise ValueError(f"no sharding rule matches the parameter {path!r}; add one to saltjax.train.sharding.RULES")


def fitting(spec: P, shape: tuple[int, ...], mesh: Mesh) -> P:
    """`spec` without the axes that do not divide their dimension (few key-value heads, an odd hidden size)."""
    axes = (axis if axis and size % mesh.shape[axis] == 0 else None for axis, size in zip(spec, shape, strict=False))
    return P(*axes)


def param_shardings(params: dict, mesh: Mesh) -> dict:
    """A NamedSharding for each (abstract or concrete) parameter, in the same tree."""
    return nested({path: NamedSharding(mesh, fitting(rule(path), x.shape, mesh)) for path, x in leaves(params)})


def replicated_notes(params: dict, mesh: Mesh) -> list[str]:
    """One line for each parameter that is kept whole along an axis which does not divide it: it costs memory."""
    notes = []
    for path, x in leaves(params):
        for axis, size in zip(rule(path), x.shape, strict=False):
            if axis and size % mesh.shape[axis]:
                notes.append(
                    f"{path}: a dimension of {size} does not divide over {axis}={mesh.shape[axis]}, kept whole"
                )
    return notes


def opt_shardings(opt_state: dict[str, Any], params: dict, mesh: Mesh) -> dict[str, Any]:
    """Moments lie where their parameter lies, scalars everywhere. `opt_state` is {path: state of that parameter}.

    (Left to itself, `jit(init)` puts every moment on the first device.)
    """
    where = dict(leaves(param_shardings(params, mesh)))
    shapes = dict(leaves(params))

    def place(path: str, x: Any) -> NamedSharding:
        like_param = (
            x.ndim == shapes[path].ndim and x.shape[1:] == shapes[path].shape[1:]
        )  # fewer layers is still alike
        return NamedSharding(mesh, fitting(where[path].spec, x.shape, mesh) if like_param else P())

    return {path: jax.tree.map(lambda x, path=path: place(path, x), state) for path, state in opt_state.items()}
