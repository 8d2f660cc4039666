"""What differs from layer to layer, as data: the scan over the layers stays one program, compiled once."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from saltjax.models.config import DecoderConfig
from saltjax.models.mask import ALL, Places, visible
from saltjax.models.rope import Turn, turns


class Own(NamedTuple):
    """One layer's window and the index of its kind of RoPE; [L] each before they are scanned."""

    window: Int[Array, "*layers"]
    rope: Int[Array, "*layers"]


class Layerwise:
    """The masks and turns of all layers for queries and keys at given places.

    `own` is scanned beside the parameters; `mask(own)` and `turn(own)` are then what one layer uses. What is the same
    in all layers is computed once, outside of the scan.
    """

    def __init__(self, config: DecoderConfig, query: Places, key: Places):
        windows = [window or ALL for window in config.windows or (0,) * config.layers]
        ropes = config.ropes or ("global",) * config.layers
        kinds = tuple(dict.fromkeys(ropes))
        self.own = Own(jnp.array(windows), jnp.array([kinds.index(rope) for rope in ropes]))
        self._places = query, key
        self._mask = visible(query, key, windows[0]) if len(set(windows)) == 1 else None
        each = [turns(config, kind, query.positions) for kind in kinds if config.positions == "rope"]
        self._same = each[0] if len(each) == 1 else None
        self._several = [jnp.stack(parts) for parts in zip(*each, strict=True)] if len(each) > 1 else []

    def mask(self, own: Own) -> Bool[Array, "b 1 t s"]:
        return visible(*self._places, own.window) if self._mask is None else self._mask

    def turn(self, own: Own) -> Turn | None:
        """The turn of this layer's queries and fresh keys; None without RoPE."""
        return Turn(*(parts[own.rope] for parts in self._several)) if self._several else self._same
