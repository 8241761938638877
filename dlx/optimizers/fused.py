"""Fast updates: from gradients to new weights with little Python between.

`torch.optim.Optimizer.step` spends more time in Python (hooks, grouping, state look-ups) than a small network's
arithmetic takes. For the plain uses of SGD, Adam and AdamW, `make_updater` calls torch's own fused kernel on the
optimizer's own state: the same numbers, the same `state_dict`, a fraction of the time. Everything else goes through
`step()`.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from dlx.errors import UsageError
from dlx.optimizers.closure import ClosureStep, Evaluate, Gradients, needs_closure

__all__ = ["Gradients", "Updater", "make_optimizer", "make_updater", "separate_step_counters", "without_dynamo"]

Updater = Callable[[Gradients], None]


def make_optimizer(
    optimizer: Callable[[Any], torch.optim.Optimizer], params: Sequence[Tensor]
) -> torch.optim.Optimizer:
    """Make the optimizer of these parameters.

    Raises:
        UsageError: there are none, or the optimizer refuses its values.
    """
    if not params:
        raise UsageError(
            "the model has no trainable parameters, so there is nothing to learn by gradients; needed: another way of "
            "learning; leave procedure= out to use the model's own, or type procedure=fit"
        )
    try:
        with without_dynamo():
            return optimizer(params)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"the optimizer refused its values: {error}; dlx list optimizers shows working ones"
        ) from error


@contextlib.contextmanager
def without_dynamo() -> Iterator[None]:
    """Use optimizers without loading torch's compiler.

    torch marks some methods of Optimizer as not to be traced, and the mark imports the compiler when such a method is
    first called: a second of start-up. While nothing is compiled there is nothing to trace, so the methods are used
    without their mark, which stands again afterwards.
    """
    marked = {}
    if "torch._dynamo" not in sys.modules:
        for name in ("add_param_group", "state_dict", "load_state_dict", "zero_grad"):
            method = vars(torch.optim.Optimizer)[name]
            if hasattr(method, "__wrapped__"):
                marked[name] = method
                setattr(torch.optim.Optimizer, name, method.__wrapped__)
    try:
        yield
    finally:
        for name, method in marked.items():
            setattr(torch.optim.Optimizer, name, method)


def make_updater(
    optimizer: torch.optim.Optimizer, params: Sequence[Tensor], evaluate: Evaluate | None = None
) -> Updater:
    """Make a function that takes the gradients of `params`, in their order, and updates the parameters in place.

    Args:
        optimizer: of these parameters.
        params: what it updates.
        evaluate: computes gradients and loss again, for optimizers that look at them within a step.

    Raises:
        UsageError: the optimizer is of this kind, and nobody can.
    """
    if needs_closure(optimizer):
        return ClosureStep(optimizer, params, evaluate)
    if len(optimizer.param_groups) == 1 and _can_fuse(optimizer, params):
        if type(optimizer) in (torch.optim.Adam, torch.optim.AdamW):
            return _Adam(optimizer, params)
        if type(optimizer) is torch.optim.SGD:
            return _SGD(optimizer, params)
    return _Step(optimizer, params)


def _can_fuse(optimizer: torch.optim.Optimizer, params: Sequence[Tensor]) -> bool:
    group = optimizer.param_groups[0]
    if group.get("capturable") or group.get("differentiable") or isinstance(group["lr"], Tensor):
        return False
    # The fused kernels want one device and one floating type; a foreach=True asks for another kernel by name.
    kinds = {(p.device, p.dtype) for p in params}
    return (
        len(kinds) == 1
        and params[0].device.type in ("cpu", "cuda")
        and params[0].dtype in (torch.float32, torch.float64)
        and not hasattr(params[0], "placements")  # a part of it in each process, of which the kernels know nothing
        and not group.get("foreach")
        and group.get("fused") is not False
    )


class _Step:
    """Any optimizer, through its own `step`."""

    def __init__(self, optimizer: torch.optim.Optimizer, params: Sequence[Tensor]) -> None:
        self.optimizer, self.params = optimizer, params

    def __call__(self, grads: Gradients) -> None:
        for param, grad in zip(self.params, grads, strict=True):
            param.grad = grad
        self.optimizer.step()
        for param in self.params:
            param.grad = None


def separate_step_counters(optimizer: torch.optim.Optimizer) -> None:
    """Let `state_dict` show one step counter for each parameter, as torch's own `step` needs them.

    Where one tensor serves all parameters, torch would count each of its steps as many times as there are parameters.
    """

    def part(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        kept = {
            index: {**slots, "step": slots["step"].clone()} if "step" in slots else slots
            for index, slots in state["state"].items()
        }
        return {**state, "state": kept}

    optimizer.register_state_dict_post_hook(part)


class _Fused:
    """Shared by the kernels: state lists are made once, and made again after `load_state_dict` replaced the state."""

    def __init__(self, optimizer: torch.optim.Optimizer, params: Sequence[Tensor]) -> None:
        self.optimizer, self.all_params, self.params = optimizer, list(params), list(params)
        self.unreached: list[int] = []  # parameters that the loss did not reach at first, as stacked decoders
        self.group = optimizer.param_groups[0]
        self.state: Any = None
        self.fallback: _Step | None = None  # takes over for good where a loss reaches other parameters than before
        # Schedulers warn when they step before `optimizer.step`, which they find out by wrapping it and looking for
        # this mark. The kernel below stands in for `step`, so the mark is ours to set.
        self.marked = False
        self.strides = [p.stride() for p in self.params]
        # By the strides met: the gradients that are laid out unlike their weights.
        self.mismatched: dict[tuple[Any, ...], list[int]] = {}

    def _is_current(self) -> bool:
        return self.state is self.optimizer.state and self.group is self.optimizer.param_groups[0]

    def _mark_as_stepped(self) -> None:
        self.optimizer._opt_called = True  # type: ignore[attr-defined]
        self.marked = True

    def __call__(self, grads: Gradients) -> None:
        if self.fallback is None:
            if not self._is_current():
                self._select_reached(grads)
            can_run = self._is_current() or self._has_equal_step_counts()
            matched = self._match_strides(self._select_gradients(grads)) if can_run else None
            if matched is not None:
                self._run_kernel(matched)
                return
            if self._is_current():
                self._restore_state()
            self.fallback = _Step(self.optimizer, self.all_params)
        self.fallback(grads)

    def _select_reached(self, grads: Gradients) -> None:
        """Leave out the parameters without a gradient, as torch's `step` does."""
        self.unreached = [i for i, grad in enumerate(grads) if grad is None]
        self.params = [p for p, grad in zip(self.all_params, grads, strict=True) if grad is not None]
        self.strides, self.mismatched = [p.stride() for p in self.params], {}

    def _select_gradients(self, grads: Gradients) -> Gradients:
        """Return the gradients of the selected parameters; all, so too many, where one of the others has one now."""
        if not self.unreached or any(grads[i] is not None for i in self.unreached):
            return grads
        left_out = set(self.unreached)
        return [grad for i, grad in enumerate(grads) if i not in left_out]

    def _has_equal_step_counts(self) -> bool:
        """Return whether all parameters were updated equally often: the kernel counts for all of them at once."""
        counts = {float(state["step"]) for state in self.optimizer.state.values() if "step" in state}
        known = sum(1 for p in self.all_params if self.optimizer.state.get(p))
        own = sum(1 for p in self.params if self.optimizer.state.get(p))
        return bool(self.params) and len(counts) <= 1 and known == own and known in (0, len(self.params))

    def _match_strides(self, grads: Gradients) -> Gradients | None:
        """Return the gradients, each in its weight's memory order: the kernels walk through both without asking.

        None where another set of parameters has gradients than the kernels have been given.
        """
        if len(grads) != len(self.params):
            return None
        try:
            strides = [grad.stride() for grad in grads]
        except AttributeError:
            return None
        if strides == self.strides:
            return grads
        key = tuple(strides)
        if key not in self.mismatched:
            pairs = enumerate(zip(strides, self.params, strict=True))
            self.mismatched[key] = [i for i, (stride, p) in pairs if _has_other_strides(stride, p)]
        copies = list(grads)
        for i in self.mismatched[key]:
            copies[i] = torch.empty_like(self.params[i]).copy_(grads[i])
        return copies

    def _get_slots(self, name: str) -> list[Tensor]:
        """Return a slot of every parameter's state, likewise: a run may resume in another memory order."""
        for p in self.params:
            value = self.state[p][name]
            if _has_other_strides(value.stride(), p):
                self.state[p][name] = torch.empty_like(p).copy_(value)
        return [self.state[p][name] for p in self.params]

    def _run_kernel(self, grads: Gradients) -> None:
        raise NotImplementedError

    def _restore_state(self) -> None:
        """Turn the state into what torch's own `step` expects."""


def _has_other_strides(stride: tuple[int, ...], param: Tensor) -> bool:
    """Return whether the order in memory is another one; a dimension of size 1 may have any stride."""
    both = zip(stride, param.stride(), param.shape, strict=True)
    return any(one != other for one, other, size in both if size > 1)


class _Adam(_Fused):
    def __init__(self, optimizer: torch.optim.Optimizer, params: Sequence[Tensor]) -> None:
        super().__init__(optimizer, params)
        separate_step_counters(optimizer)

    def _restore_state(self) -> None:
        for p in self.params:
            self.state[p]["step"] = self.counter.clone()

    def _bind_state(self) -> None:
        self.state, self.group = self.optimizer.state, self.optimizer.param_groups[0]
        amsgrad = self.group["amsgrad"]
        # One counter serves all parameters: the kernel reads it, and one addition replaces one for each parameter.
        steps = [self.state[p]["step"] for p in self.params if self.state[p]]
        device = self.params[0].device
        self.counter = torch.as_tensor(float(steps[0]) if steps else 0.0, dtype=torch.float32, device=device).clone()
        for p in self.params:
            state = self.state[p]
            if not state:
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
                if amsgrad:
                    state["max_exp_avg_sq"] = torch.zeros_like(p)
            state["step"] = self.counter
        self.mean, self.square = self._get_slots("exp_avg"), self._get_slots("exp_avg_sq")
        self.largest = self._get_slots("max_exp_avg_sq") if amsgrad else []
        self.counters = [self.counter] * len(self.params)
        decoupled = isinstance(self.optimizer, torch.optim.AdamW) or self.group.get("decoupled_weight_decay", False)
        self.kernel = torch._fused_adamw_ if decoupled else torch._fused_adam_

    def _run_kernel(self, grads: Gradients) -> None:
        if not self._is_current():
            self._bind_state()
            self._mark_as_stepped()
        group = self.group
        beta1, beta2 = group["betas"]
        with torch.no_grad():
            self.counter += 1
            self.kernel(
                self.params,
                grads,
                self.mean,
                self.square,
                self.largest,
                self.counters,
                lr=group["lr"],
                beta1=beta1,
                beta2=beta2,
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=group["amsgrad"],
                maximize=group["maximize"],
            )


class _SGD(_Fused):
    def _restore_state(self) -> None:
        if self.fresh:  # torch's own first step starts the velocity where there is none
            for p in self.params:
                self.state[p].pop("momentum_buffer", None)

    def _bind_state(self) -> None:
        self.state, self.group = self.optimizer.state, self.optimizer.param_groups[0]
        self.fresh = False
        if self.group["momentum"]:
            self.fresh = not self.state[self.params[0]]
            for p in self.params:
                if not self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
            self.velocity = self._get_slots("momentum_buffer")
        else:
            self.velocity = []

    def _run_kernel(self, grads: Gradients) -> None:
        if not self._is_current() or (self.group["momentum"] and not self.velocity):  # a schedule may turn it on
            self._bind_state()
            self._mark_as_stepped()
        group = self.group
        with torch.no_grad():
            torch._fused_sgd_(
                self.params,
                grads,
                self.velocity if group["momentum"] else [],
                weight_decay=group["weight_decay"],
                momentum=group["momentum"],
                lr=group["lr"],
                dampening=group["dampening"],
                nesterov=group["nesterov"],
                maximize=group["maximize"],
                is_first_step=self.fresh,  # torch starts the velocity at the first gradient, undamped
            )
        self.fresh = False
