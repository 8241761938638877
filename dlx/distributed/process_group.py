"""One of several processes: gradients go over NCCL between GPUs, everything else over gloo."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

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
PAUSE = 0.5  # seconds between two questions whether somebody was told to stop


class ProcessGroup(SingleProcess):
    """One of several processes. Gradients go over NCCL between GPUs, everything else over gloo."""

    def __init__(self) -> None:
        self.rank, self.world = processes.rank(), processes.world()
        store, rank, world = next(dist.rendezvous("env://"))
        # Without a name torch takes both: NCCL for tensors on GPUs, gloo for those on the processor.
        dist.init_process_group(None if torch.cuda.is_available() else "gloo", store=store, rank=rank, world_size=world)
        self.failures = failures.Failures(store, self.rank, self.world)
        self.fraction, self.counts_here = 1 / self.world, True
        self.next, self.asked, self.asked_at = 0, 0, time.monotonic()

    def local_range(self, examples: int) -> tuple[int, int]:
        """Nearly equal ones. Too few to be divided are seen by all ranks, and weigh in each as if they were not."""
        if examples < self.world:
            self.fraction, self.counts_here = 1 / self.world, self.rank == 0
            return 0, examples
        low, high = (examples * rank // self.world for rank in (self.rank, self.rank + 1))
        self.fraction, self.counts_here = (high - low) / examples, True
        return low, high

    # -- objects -----------------------------------------------------------------------------------------------------

    def run_on_all_ranks(self, act: Callable[[], T]) -> T:
        made: Any = None
        own: Exception | None = None
        try:
            made = act()
        except Exception as error:
            own = error
        about = None if own is None else (failures.describe_error(own), getattr(own, "exit_code", 1))
        found = self.all_gather(about)
        if own is not None:
            raise own
        for rank, problem in enumerate(found):
            if problem is not None:
                raise _rebuild_error(f"rank {rank}: {problem[0]}", problem[1])
        return made

    def broadcast(self, value: T) -> T:
        box = [value if self.rank == 0 else None]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]  # type: ignore[return-value]

    def broadcast_result(self, act: Callable[[], T]) -> T:
        def made() -> Any:
            if self.rank:
                return None
            with single_process():
                return act()

        return self.broadcast(self.run_on_all_ranks(made))

    def all_gather(self, value: T) -> list[T]:
        boxes: list[Any] = [None] * self.world
        dist.all_gather_object(boxes, value)
        return boxes

    def local_main_first(self, act: Callable[[], None]) -> None:
        if processes.local() == 0:
            self.run_on_all_ranks(act)
            self.run_on_all_ranks(lambda: None)
        else:
            self.run_on_all_ranks(lambda: None)
            self.run_on_all_ranks(act)

    # -- tensors -----------------------------------------------------------------------------------------------------

    def weight_by_examples(self, loss: Tensor) -> Tensor:
        return loss * self.fraction

    def average_gradients(self, gradients: Gradients) -> Gradients:
        return self.sum_gradients(torch._foreach_mul(list(gradients), self.fraction))

    def sum_gradients(self, gradients: Gradients) -> Gradients:
        """In one exchange, as a bucket of DistributedDataParallel's."""
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
        def weighed(batch: Any) -> dict[str, Tensor]:
            values, weight = step(batch), self.fraction * self.world
            return values if weight == 1 else {name: value * weight for name, value in values.items()}

        return weighed

    def should_stop(self, interrupt: Interrupt, step: int) -> bool:
        """All ranks stop after the same step: they ask each other twice a second, at steps that all of them know."""
        if step < self.next:
            return False
        now = time.monotonic()
        pace = (now - self.asked_at) / max(step - self.asked, 1)
        told = torch.tensor([float(bool(interrupt)), pace], dtype=torch.float64)
        dist.all_reduce(told, dist.ReduceOp.MAX)
        self.next = step + int(min(max(PAUSE / max(float(told[1]), 1e-6), 1), 10_000))
        self.asked, self.asked_at = step, now
        return bool(told[0])

    def mean(self, numbers: Sequence[float]) -> list[float]:
        found = self.all_gather(list(numbers))
        if len({len(row) for row in found}) > 1:  # one of them measured something that another had too little data for
            return found[0]
        return [sum(column) / self.world for column in zip(*found, strict=True)]

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
                dense = tensor.detach().contiguous()  # a convolution's may lie in another order
                dist.broadcast(dense, src=0)
                if dense.data_ptr() != tensor.data_ptr():
                    tensor.data.copy_(dense)

    def state(self, model: nn.Module) -> dict[str, Any]:
        self.sync_buffers(model)
        return gather_full_tensors(model.state_dict(), self.world)

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
        random = mine.get("random") if len(ranks) == self.world or self.rank == 0 else None
        if random is None:  # one more rank than there were: draws that nobody else has
            state = get_random_state()
            seed_everything(_mix_seeds(seed, self.rank, content["trainer"]["step"]))
            random = get_random_state()
            set_random_state(state)
        return {**content, "procedure": procedure, "random": random}

    def disable_collectives(self) -> None:
        leave_group()

    @contextlib.contextmanager
    def explain_lost_rank(self) -> Iterator[None]:
        before = (
            _ignore_sigterm()
        )  # torchrun ends all when one is lost: the books are closed first, and what happened is told
        with catch_interrupts():
            try:
                yield
            except (Interrupted, KeyboardInterrupt):
                raise
            except Exception as error:
                if not failures.is_lost_rank(error):
                    self.failures.tell(error)
                    raise
                raise TrainingError(self.failures.cause(error)) from error
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _ignore_sigterm() -> Any:
    """Ignore SIGTERM, in the main thread. Returns what heeded it before."""
    with contextlib.suppress(ValueError):
        return signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return None


def _mix_seeds(*numbers: int) -> int:
    return int(np.random.SeedSequence([n % 2**64 for n in numbers]).generate_state(1, np.uint64)[0]) % 2**63


def _rebuild_error(text: str, code: int) -> DlxError:
    error = DlxError(text)
    error.exit_code = code
    return error
