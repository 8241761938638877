"""How much a loss depends on the hidden states of a recurrent network, step by step: whether the gradient vanishes."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.models.interfaces import StateGradientModel


class StateGradients:
    """‖∂L/∂h_t‖ on the last batch of each epoch: a picture over t, and curves of the first and the last step.

    L is the loss of the whole batch, through all of its steps, with the model as in evaluation: nothing is drawn, so a
    run that is looked at learns what it learns without.

    Args:
        model: with `state_gradients`.
        loss: of a batch.

    Raises:
        UsageError: a model without hidden states.
    """

    def __init__(self, model: nn.Module, loss: Callable[[Batch], Tensor]) -> None:
        if not isinstance(model, StateGradientModel):
            raise UsageError(
                f"procedure.diagnose=gradients was given with the model {type(model).__name__}; needed: a recurrent "
                "network, such as elman, gru or lstm; type procedure.diagnose=null"
            )
        self.model, self.loss = model, loss
        self.batch: Batch | None = None  # the last one that was learned from
        self.norms: dict[str, Tensor] = {}

    def measure(self) -> dict[str, Tensor]:
        """Measure `gradient_first` and `gradient_last`, the norms at the first and the last step."""
        if self.batch is None:
            return {}
        batch, model = self.batch, cast(nn.Module, self.model)
        training = model.training
        model.eval()
        self.norms = self.model.state_gradients(lambda: self.loss(batch))
        model.train(training)
        first = next(iter(self.norms.values()))
        return {"gradient_first": first[0], "gradient_last": first[-1]}

    def pictures(self) -> dict[str, Tensor]:
        """Draw the norms over time, on a logarithmic axis; a gap where one is 0."""
        if not self.norms:
            return {}
        from dlx.figures.figures import lines

        curves = {
            f"‖∂L/∂{name}‖": (torch.arange(1, len(norm) + 1), norm.where(norm > 0, torch.nan))
            for name, norm in self.norms.items()
        }
        return {
            "gradients": lines(curves, "How much the loss depends on the state at step t", "step t", logarithmic=True)
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the batch: a run that is resumed at the end of an epoch measures it."""
        return {"batch": None if self.batch is None else list(self.batch)}

    def load_state_dict(self, state: dict[str, Any], device: torch.device | str) -> None:
        """Restore what `state_dict` returned."""
        if state["batch"] is not None:
            self.batch = Batch(*(None if part is None else part.to(device) for part in state["batch"]))  # type: ignore[arg-type]
