"""The group of several processes: gradients go over NCCL between GPUs, everything else over gloo."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from dlx.distributed import failures
from dlx.distributed.group import Gradients, SingleProcess, leave_group, single_process
from dlx.distributed.sharding import gather_full_tensors, is_sharded
from dlx.errors import DlxError, Interrupted, TrainingError
from dlx.hardware import processes
from dlx.hardware.random_state import get_random_state, seed_everything, set_random_state
from dlx.hardware.signals import Interrupt, catch_interrupts

T = TypeVar("T")
STOP_POLL_SECONDS = 0.5  # between two exchanges of whether any rank was told to stop


class ProcessGroup(SingleProcess):
    """This process's view of a group of several. Gradients go over NCCL between GPUs, everything else over gloo."""

    def __init__(self) -> None:
        self.rank, self.world_size = processes.rank(), processes.world_size()
        store, rank, world_size = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
        # Without a name torch takes both: NCCL for tensors on GPUs, gloo for those on the processor.
        dist.init_process_group(
            None if torch.cuda.is_available() else "gloo", store=store, rank=rank, world_size=world_size
        )
        self.failures = failures.Failures(store, self.rank, self.world_size)
        self.fraction, self.owns_examples, self.has_all_examples = 1 / self.world_size, True, False
        self.next_poll, self.polled_step, self.polled_at = 0, 0, time.monotonic()

    def local_range(self, examples: int) -> tuple[int, int]:
        """Return nearly equal shares. Too few examples to be divided go to all ranks, each with an equal weight."""
        if examples < self.world_size:
            self.fraction, self.owns_examples = 1 / self.world_size, self.rank == 0
            self.has_all_examples = True
            return 0, examples
        low, high = (examples * rank // self.world_size for rank in (self.rank, self.rank + 1))
        self.fraction, self.owns_examples, self.has_all_examples = (high - low) / examples, True, False
        return low, high

    # -- objects -----------------------------------------------------------------------------------------------------

    def run_on_all_ranks(self, act: Callable[[], T]) -> T:
        result: Any = None
        own_error: Exception | None = None
        try:
            result = act()
        except Exception as error:
            own_error = error
        described = None
        if own_error is not None:
            described = (failures.describe_error(own_error), getattr(own_error, "exit_code", 1))
        errors = self.all_gather(described)
        if own_error is not None:
            raise own_error
        for rank, problem in enumerate(errors):
            if problem is not None:
                raise _rebuild_error(f"rank {rank}: {problem[0]}", problem[1])
        return cast(T, result)

    def broadcast(self, value: T) -> T:
        box = [value if self.rank == 0 else None]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]  # type: ignore[return-value]

    def broadcast_result(self, act: Callable[[], T]) -> T:
        def act_on_first() -> Any:
            if self.rank:
                return None
            with single_process():
                return act()

        result: T = self.broadcast(self.run_on_all_ranks(act_on_first))
        return result

    def all_gather(self, value: T) -> list[T]:
        boxes: list[Any] = [None] * self.world_size
        dist.all_gather_object(boxes, value)
        return boxes

    def local_main_first(self, act: Callable[[], None]) -> None:
        if processes.local_rank() == 0:
            self.run_on_all_ranks(act)
            self.run_on_all_ranks(lambda: None)
        else:
            self.run_on_all_ranks(lambda: None)
            self.run_on_all_ranks(act)

    # -- tensors -----------------------------------------------------------------------------------------------------

    def weight_by_examples(self, loss: Tensor) -> Tensor:
        return loss * self.fraction

    def weigh_share(self, weight: float | Tensor) -> float | Tensor:
        return weight / self.world_size if self.has_all_examples else weight

    def sum_weights(self, weight: float | Tensor) -> float | Tensor:
        total = torch.as_tensor(weight).to("cpu", torch.float64, copy=True)
        dist.all_reduce(total)
        return float(total)

    def average_gradients(self, gradients: Gradients) -> Gradients:
        return self.sum_gradients(torch._foreach_mul(list(gradients), self.fraction))

    def sum_gradients(self, gradients: Gradients) -> Gradients:
        """Sum all gradients in one collective, as a bucket of DistributedDataParallel's."""
        reached = [g for g in gradients if g is not None]
        flat = torch.cat([g.reshape(-1) for g in reached])
        dist.all_reduce(flat)
        pieces = iter(flat.split([g.numel() for g in reached]))
        return [None if g is None else next(pieces).view(g.shape) for g in gradients]

    def all_reduce(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        total = {name: values[name].clone() for name in sorted(values)}  # one order on all ranks
        for value in total.values():
            dist.all_reduce(value)
        return total

    def any_rank(self, flags: Tensor) -> Tensor:
        numbers = flags.to(torch.uint8)
        dist.all_reduce(numbers, dist.ReduceOp.MAX)
        return numbers.bool()

    def weight_values(self, step: Callable[[Any], dict[str, Tensor]]) -> Callable[[Any], dict[str, Tensor]]:
        def weighted_step(batch: Any) -> dict[str, Tensor]:
            values, weight = step(batch), self.fraction * self.world_size
            return values if weight == 1 else {name: value * weight for name, value in values.items()}

        return weighted_step

    def should_stop(self, interrupt: Interrupt, step: int) -> bool:
        """Return whether any rank was told to stop: all ask at the same steps, about twice a second."""
        if step < self.next_poll:
            return False
        now = time.monotonic()
        pace = (now - self.polled_at) / max(step - self.polled_step, 1)
        highest = torch.tensor([float(bool(interrupt)), pace], dtype=torch.float64)
        dist.all_reduce(highest, dist.ReduceOp.MAX)
        self.next_poll = step + int(min(max(STOP_POLL_SECONDS / max(float(highest[1]), 1e-6), 1), 10_000))
        self.polled_step, self.polled_at = step, now
        return bool(highest[0])

    def mean(self, numbers: Sequence[float]) -> list[float]:
        rows = self.all_gather(list(numbers))
        if len({len(row) for row in rows}) > 1:  # one rank measured something for which another had too little data
            return rows[0]
        return [sum(column) / self.world_size for column in zip(*rows, strict=True)]

    # -- the model -----------------------------------------------------------------------------------------------------

    def sync_parameters(self, model: nn.Module, seed: int) -> None:
        self._broadcast_tensors(list(model.parameters()))
        self.sync_buffers(model)
        if self.rank:
            seed_everything(_mix_seeds(seed, self.rank))

    def sync_buffers(self, model: nn.Module) -> None:
        self._broadcast_tensors(list(model.buffers()))

    def _broadcast_tensors(self, tensors: Sequence[Tensor]) -> None:
        from torch.distributed.tensor import DTensor

        for tensor in tensors:
            if not isinstance(tensor, DTensor):
                dense = tensor.detach().contiguous()  # a convolution's may have another memory format
                dist.broadcast(dense, src=0)
                if dense.data_ptr() != tensor.data_ptr():
                    tensor.data.copy_(dense)

    def state(self, model: nn.Module) -> dict[str, Any]:
        self.sync_buffers(model)
        result: dict[str, Any] = gather_full_tensors(model.state_dict(), self.world_size)
        return result

    def load(self, model: nn.Module, state: Mapping[str, Any]) -> None:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

        if is_sharded(model):
            set_model_state_dict(model, dict(state), options=StateDictOptions(full_state_dict=True))
        else:
            model.load_state_dict(state)

    def full_parameters(self, model: nn.Module) -> contextlib.AbstractContextManager[Any]:
        from dlx.distributed.gradients import unshard

        return unshard(model) if is_sharded(model) else contextlib.nullcontext()

    # -- checkpoints and failures ------------------------------------------------------------------------------------

    def gather_rank_state(self, own: dict[str, Any]) -> dict[str, Any]:
        return {"ranks": self.all_gather(own)}

    def select_rank_state(self, content: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        ranks = content.get("ranks") or []
        if self.rank == 0 and not ranks:
            return content
        mine = ranks[self.rank % len(ranks)] if ranks else {}
        procedure = {**content["procedure"], **mine.get("procedure", {})}
        random = mine.get("random") if len(ranks) == self.world_size or self.rank == 0 else None
        if random is None:  # more ranks than there were: a seed that no other rank has
            state = get_random_state()
            seed_everything(_mix_seeds(seed, self.rank, content["trainer"]["step"]))
            random = get_random_state()
            set_random_state(state)
        return {**content, "procedure": procedure, "random": random}

    def disable_collectives(self) -> None:
        leave_group()

    @contextlib.contextmanager
    def explain_lost_rank(self) -> Iterator[None]:
        # torchrun ends all ranks when one is lost: the run is recorded and the error reported first.
        before = _ignore_sigterm()
        with catch_interrupts():
            try:
                yield
            except (Interrupted, KeyboardInterrupt):
                raise
            except Exception as error:
                if not failures.is_lost_rank(error):
                    self.failures.report(error)
                    raise
                raise TrainingError(self.failures.find_cause(error)) from error
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _ignore_sigterm() -> Any:
    """Ignore SIGTERM, in the main thread, and return its earlier handler."""
    with contextlib.suppress(ValueError):
        return signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return None


def _mix_seeds(*numbers: int) -> int:
    return int(np.random.SeedSequence([n % 2**64 for n in numbers]).generate_state(1, np.uint64)[0]) % 2**63


def _rebuild_error(text: str, code: int) -> DlxError:
    error = DlxError(text)
    error.exit_code = code
    return error
