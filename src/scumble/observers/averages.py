"""The mean of an epoch's losses, as sd-scripts shows it."""

import math


class EpochAverage:
    """During the first epoch the mean of all losses, afterwards that of the newest epoch's worth.

    sd-scripts overwrites the loss that stood at the same place of the epoch before, which leaves
    the same losses. Losses that are not finite are passed over; there they spoil the mean for
    good. Nothing of it is kept for a run that goes on later; there neither.
    """

    def __init__(self, length: int) -> None:
        """`length`: losses in an epoch."""
        self._length = max(1, length)
        self._losses: list[float] = []
        self._place = 0
        self._total = 0.0

    def add(self, loss: float) -> None:
        """Take the next loss in."""
        if not math.isfinite(loss):
            return
        if len(self._losses) < self._length:
            self._losses.append(loss)
        else:
            self._total -= self._losses[self._place]
            self._losses[self._place] = loss
        self._total += loss
        self._place = (self._place + 1) % self._length
        if self._place == 0:  # a loss far above the others would leave its rounding behind
            self._total = math.fsum(self._losses)

    @property
    def mean(self) -> float:
        """NaN as long as there is no loss."""
        return self._total / len(self._losses) if self._losses else math.nan
