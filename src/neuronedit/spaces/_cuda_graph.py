"""A step of training, recorded on a CUDA device and replayed: one launch, where there were one for each operation."""

from collections.abc import Callable

import torch
from torch import Tensor

N_STEPS_BEFORE = 3  # that run as they are: libraries and the optimizer then have the memory that they keep

Step = Callable[[Tensor], Tensor]  # (batch_size, n_features) -> loss; it changes weights in place


class GraphedStep:
    """Calls a step of training for the first few batches, then records it and replays the record.

    The record holds addresses, so nothing in the step may depend on Python values that change; see
    https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs. Batches of another size, such as the last one of an
    epoch, take the step as it is. The loss that is returned is overwritten by the next call.
    """

    def __init__(self, step: Step) -> None:
        self.step, self.n_done = step, 0
        self.graph = torch.cuda.CUDAGraph()

    def __call__(self, batch: Tensor) -> Tensor:
        if self.n_done == 0:
            self.shape = batch.shape
        if batch.shape != self.shape:
            return self.step(batch)
        self.n_done += 1
        if self.n_done <= N_STEPS_BEFORE:
            return self._run_beside(batch)
        if self.n_done == N_STEPS_BEFORE + 1:
            self._record(batch)
        self.batch.copy_(batch)
        self.graph.replay()
        return self.loss

    def _run_beside(self, batch: Tensor) -> Tensor:
        """Take the step on a stream of its own, as what is recorded later must not have run on the default one."""
        stream = torch.cuda.Stream(batch.device)
        stream.wait_stream(torch.cuda.current_stream(batch.device))
        with torch.cuda.stream(stream):
            loss = self.step(batch)
        torch.cuda.current_stream(batch.device).wait_stream(stream)
        return loss

    def _record(self, batch: Tensor) -> None:
        """Record the step, which changes nothing yet."""
        self.batch = torch.empty_like(batch)
        with torch.cuda.device(batch.device), torch.cuda.graph(self.graph):
            self.loss = self.step(self.batch)
