"""An endless stream of minibatches over the passes of a loader, which can be left and taken up at any minibatch."""

from __future__ import annotations

from typing import Any, Mapping

from rsl_rl_ult.storage.loader import SegmentLoader, Segments


class BatchStream:
    """The minibatches of pass 0, 1, 2, ... of a loader, one after the other.

    Attributes:
        passes: finished so far.
    """

    def __init__(self, loader: SegmentLoader) -> None:
        """Begin with the first minibatch of pass 0."""
        self.loader, self.passes, self._taken = loader, 0, 0
        self._batches: Any = None

    def next(self) -> Segments:
        """The next minibatch.

        Raises:
            ValueError: a whole pass has no sample.
        """
        for _ in range(2):
            if self._batches is None:
                self._batches = self.loader.epoch(self.passes)
            batch = next(self._batches, None)
            if batch is not None:
                self._taken += 1
                return batch
            self._batches, self._taken, self.passes = None, 0, self.passes + 1
        raise ValueError("the data set has no sample to learn from: record more episodes")

    def _skip(self, count: int) -> None:
        self._taken = 0
        for _ in range(count):
            self.next()

    def state_dict(self) -> dict[str, int]:
        """What is needed to go on with the same minibatch."""
        return {"passes": self.passes, "taken": self._taken}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where `state_dict` was taken; minibatches of the begun pass are made again and dropped."""
        self._batches, self.passes = None, int(state["passes"])
        self._skip(int(state["taken"]))
