"""When something that happens every so many steps is due."""


def due(step: int, every: int, last: int, first: bool = False) -> bool:
    """After `step` steps: at the last one, every `every` (0: never) from then on, and at step 0 with `first`."""
    return step == last or (first and step == 0) or (every > 0 and step > 0 and step % every == 0)
