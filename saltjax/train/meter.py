"""How far and how fast a run is: the numbers of its steps, read one step late so that the device never waits."""

import dataclasses
import math
import time
from typing import Any, NamedTuple

import jax
import numpy as np

Batch = dict[str, np.ndarray]


class Totals(NamedTuple):
    """Of training: target tokens, seconds, and of these seconds those spent waiting for data; steps, model flops."""

    tokens: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    steps: int = 0
    flops: float = 0.0


class Flying(NamedTuple):
    """A step that was given to the device: its number (from 1), its metrics to be, this process's rows of its batch."""

    step: int
    values: dict[str, jax.Array]
    batch: Batch


class Meter:
    """Totals so far; compiling, evaluation and checkpoints are not training. `peak`: flops a second of one device."""

    def __init__(self, devices: int, peak: float | None, tokens: int = 0, seconds: float = 0.0):
        self._devices, self._peak = devices, peak
        self.total = self._first = self._logged = Totals(tokens, seconds)
        self._flying: Flying | None = None
        self._began = self._waited = 0.0

    def begin(self) -> None:
        """The clock of a step starts; once more after its program was compiled."""
        self._began, self._waited = time.perf_counter(), 0.0

    def fetched(self) -> None:
        """The batch is there: till now the loop waited for it."""
        self._waited = time.perf_counter() - self._began

    def end(self, flops: float) -> None:
        """The step is over, or so far that the next one may begin; it has so many model flops."""
        seconds, total = time.perf_counter() - self._began, self.total
        self.total = Totals(
            total.tokens, total.seconds + seconds, total.waited + self._waited, total.steps + 1, total.flops + flops
        )

    def launched(self, step: int, values: dict[str, jax.Array], batch: Batch) -> None:
        self._flying = Flying(step, values, batch)

    def settle(self) -> dict[str, Any] | None:
        """Wait for the step in flight, if there is one: its metrics. NotFinite: its loss or its gradient is not."""
        if self._flying is None:
            return None
        (step, waiting, batch), self._flying = self._flying, None
        values = {key: value.item() if value.ndim == 0 else value for key, value in jax.device_get(waiting).items()}
        for key in ("loss", "grad_norm"):
            if not math.isfinite(values[key]):
                raise NotFinite(step, key, values, batch)
        self.total = self.total._replace(tokens=self.total.tokens + int(values["tokens"]))
        return values

    def since_logged(self) -> dict[str, Any]:
        """Totals, and the speed since the last call: part of a line of metrics.jsonl."""
        speed = self._speed(self._logged)
        self._logged = self.total
        return {"tokens": self.total.tokens, "seconds": round(self.total.seconds, 3), **speed, **device_memory()}

    @property
    def speed(self) -> dict[str, float | None]:
        """That of all steps of this call; None before the first one."""
        return self._speed(self._first)

    def _speed(self, since: Totals) -> dict[str, float | None]:
        tokens, seconds, waited, steps, flops = (now - then for now, then in zip(self.total, since, strict=True))
        if not steps:
            return dict.fromkeys(SPEED)
        fast = tokens / seconds
        mfu = flops / seconds / (self._devices * self._peak) if self._peak else None
        values = (round(fast, 1), round(fast / self._devices, 1), round(seconds / steps, 6), round(waited / seconds, 4))
        return dict(zip(SPEED, (*values, mfu and round(mfu, 4)), strict=True))


SPEED = ("tokens_per_second", "tokens_per_second_per_device", "step_seconds", "data_wait", "mfu")


def device_memory() -> dict[str, int | None]:
    """Bytes in use and the most that were in use, of the fullest device of this process; None where JAX cannot tell."""
    stats = [found for device in jax.local_devices() if (found := device.memory_stats())]
    return {
        f"device_memory_{name}": max((one[key] for one in stats), default=None)
        for name, key in (("bytes", "bytes_in_use"), ("peak_bytes", "peak_bytes_in_use"))
    }


@dataclasses.dataclass
class NotFinite(Exception):
    """Step number `step` gave an infinite or NaN `key` (loss or grad_norm): all its metrics, and its batch."""

    step: int
    key: str
    values: dict[str, Any]
    batch: Batch
