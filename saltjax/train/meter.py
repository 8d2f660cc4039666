"""How far and how fast a run is: the numbers of its steps, read one step late so that the device never waits."""

import math
import time

import jax

from saltjax.errors import UserError


class Meter:
    """Target tokens and seconds of training so far; compiling, evaluation and checkpoints are not training."""

    def __init__(self, tokens: int = 0, seconds: float = 0.0):
        self.tokens, self.seconds = tokens, seconds
        self._first = self._logged = (tokens, seconds)
        self._flying: tuple[int, dict] | None = None
        self._began = 0.0

    def begin(self) -> None:
        """The clock of a step starts; once more after its program was compiled."""
        self._began = time.perf_counter()

    def end(self) -> None:
        self.seconds += time.perf_counter() - self._began

    def launched(self, step: int, values: dict[str, jax.Array]) -> None:
        """Step number `step` (from 1) is on the device; `values` will be its metrics."""
        self._flying = (step, values)

    def settle(self) -> dict[str, float] | None:
        """Wait for the step in flight, if there is one: its metrics. UserError: loss or gradient is not finite."""
        if self._flying is None:
            return None
        step, values = self._flying[0], {key: float(value) for key, value in jax.device_get(self._flying[1]).items()}
        self._flying = None
        for key in ("loss", "grad_norm"):
            if not math.isfinite(values[key]):
                raise NotFinite(f"{key} is {values[key]} at step {step}")
        self.tokens += int(values["tokens"])
        return values

    def since_logged(self) -> dict[str, int | float]:
        """Totals, and the speed since the last call: part of a line of metrics.jsonl."""
        speed = self._speed(self._logged)
        self._logged = (self.tokens, self.seconds)
        return {"tokens": self.tokens, "tokens_per_second": round(speed, 1), "seconds": round(self.seconds, 3)}

    @property
    def tokens_per_second(self) -> float | None:
        """Since this meter was made; None before a step."""
        return self._speed(self._first) if self.seconds > self._first[1] else None

    def _speed(self, since: tuple[int, float]) -> float:
        return (self.tokens - since[0]) / (self.seconds - since[1])


class NotFinite(UserError):
    """Loss or gradient became infinite or NaN."""
