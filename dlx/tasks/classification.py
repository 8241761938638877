"""Classification: which of the classes an example belongs to."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.metrics import Metric
from dlx.models.activations import apply_output
from dlx.models.heads import list_weighted_scores
from dlx.models.interfaces import Probabilistic, SoftmaxOutputs
from dlx.tasks.losses import ClassificationLoss, Criterion
from dlx.tasks.task import Task, forward_batch, require_labels
from dlx.types import Count, Fraction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dlx.datasets.dataset import Dataset
    from dlx.tasks.scores import Classified, Report


class Classification(Task):
    """Models give scores, (batch, classes); the largest is the prediction.

    Args:
        loss: what is minimised: a name of `dlx.tasks.losses`, such as cross_entropy or `{focal: {gamma: 3}}`, or an
            object that is called with (scores, labels). `mse` is the squared distance of what the network shows to
            the one-hot label, `hinge` the multi-class margin loss of Crammer and Singer (2001).
        label_smoothing: part of the target's probability that is spread evenly over all classes.
        top: also report how often the label is among the k largest scores, for each of these k: `top5_accuracy`,
            `top5_error`.
    """

    needs: ClassVar[str | None] = "classes"
    monitor = "accuracy"
    declares: ClassVar[tuple[str | Metric, ...]] = (
        "loss",
        "accuracy",
        "error",
        "top[0-9]*_accuracy",
        "top[0-9]*_error",
        "balanced_accuracy",
        "macro_f1",
        "auroc",
        "average_precision",
        "log_loss",
        "brier",
        "calibration_error",
        "majority_accuracy",
    )

    def __init__(
        self,
        loss: ClassificationLoss = "cross_entropy",
        label_smoothing: Fraction = 0.0,
        top: Sequence[Count] = (),
    ) -> None:
        self.criterion = Criterion(loss, label_smoothing)
        self.kind = self.criterion.name
        self.top = list(top)
        self.names: list[str] | None = None

    def attach(self, dataset: "Dataset") -> None:
        super().attach(dataset)
        self.names = dataset.names
        for k in self.top:
            if dataset.classes is not None and k >= dataset.classes:
                raise UsageError(
                    f"task.top={self.top} was given for {dataset.classes} classes; needed: numbers below that; "
                    "type task.top=[]"
                )

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        y = require_labels(batch)
        (_, scores), *auxiliary = list_weighted_scores(forward_batch(model, batch))
        loss = self.criterion.mean(scores, y, self._show(model, scores))
        for weight, scores in auxiliary:
            loss = loss + weight * self.criterion.mean(scores, y)
        return loss

    def _show(self, model: nn.Module, scores: Tensor) -> Tensor:
        """Return what the network shows of its scores, (batch, classes): shares, where it ends in a softmax."""
        return apply_output(model.softmax, scores) if isinstance(model, SoftmaxOutputs) else scores

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        scores, y = forward_batch(model, batch), require_labels(batch)
        correct = {"accuracy": scores.argmax(1) == y}
        for k in self.top:
            correct[f"top{k}_accuracy"] = (scores.topk(k, dim=1).indices == y[:, None]).any(1)
        # A support vector machine or a tree's vote has no probabilities, so no cross-entropy either.
        if isinstance(model, Probabilistic) and not model.probabilistic:
            return correct
        return {"loss": self.criterion.losses(scores, y, self._show(model, scores)), **correct}

    def finish(self, means: "Mapping[str, Tensor]") -> dict[str, float]:
        final = super().finish(means)
        for name in ("", *(f"top{k}_" for k in self.top)):
            final[f"{name}error"] = 1.0 - final[f"{name}accuracy"]
        return final

    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return labels, (batch,)."""
        result: Tensor = model(x).argmax(1)
        return result

    def predictions(self, model: nn.Module, x: Tensor) -> dict[str, Tensor]:
        """Return labels (batch,), and the probability of each class (batch, classes) where the model has them."""
        scores = model(x)
        columns = {"label": scores.argmax(1)}
        logits = not isinstance(model, Probabilistic) or model.probabilistic
        link = "softmax" if isinstance(model, SoftmaxOutputs) and model.softmax is not None else self.criterion.link
        if logits and link:
            columns["probability"] = scores.softmax(1) if link == "softmax" else scores.sigmoid()
        return columns

    def score(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        from dlx.tasks import scores

        return scores.score_classification(self._classify(model, batches), self.top)

    def report(self, model: nn.Module, batches: Iterable[Batch]) -> "Report":
        from dlx.tasks import scores

        return scores.report_classification(self._classify(model, batches), self.names)

    def _classify(self, model: nn.Module, batches: Iterable[Batch]) -> "Classified":
        """Return a whole split, and what a model makes of it."""
        from dlx.tasks.scores import Classified

        labels: list[Tensor] = []
        scores: list[Tensor] = []
        for batch in batches:
            scores.append(forward_batch(model, batch).double().cpu())
            labels.append(require_labels(batch).cpu())
        y, found = torch.cat(labels), torch.cat(scores)
        has_probabilities = self.kind == "cross_entropy" and (
            not isinstance(model, Probabilistic) or model.probabilistic
        )
        return Classified(y.numpy(), found.numpy(), found.softmax(1).numpy() if has_probabilities else None)

    def pictures(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, Tensor]:
        from dlx.figures.figures import plot_confusion_matrix

        counts: Tensor | None = None
        for batch in batches:
            scores, y = forward_batch(model, batch), require_labels(batch)
            classes = scores.shape[1]
            cells = torch.bincount(y * classes + scores.argmax(1), minlength=classes**2).view(classes, classes)
            counts = cells if counts is None else counts + cells
        return {} if counts is None else {"confusion_matrix": plot_confusion_matrix(counts.cpu(), self.names)}
