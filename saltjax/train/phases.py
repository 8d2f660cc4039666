"""What learns when: the stages of a run and the masks of the parameters that go with them."""

from saltjax.train.config import AdaptConfig
from saltjax.train.stages import spec_at
from saltjax.train.trainable import Mask, trainable


class Phases:
    """The phases of a run over parameters `base`. UserError: one of them, also a later one, is wrong."""

    def __init__(self, base: dict, config: AdaptConfig):
        self._config = config
        self._masks = {spec: trainable(base, spec) for spec in config.specs}

    def spec(self, step: int) -> str:
        """What learns in step number `step` (from 0)."""
        return spec_at(self._config.phases, self._config.trainable, step)

    def mask(self, step: int) -> Mask:
        return self._masks[self.spec(step)]

    def begins(self, step: int) -> bool:
        """Whether another phase than that of the step before begins with step number `step`."""
        return step > 0 and self.spec(step) != self.spec(step - 1)

    @property
    def last(self) -> Mask:
        """What learns in the end."""
        return self._masks[self._config.trainable]
