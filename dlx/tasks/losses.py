"""Losses by name: what Keras and torch have, each where it is defined; and losses of one's own.

Losses of classes look at scores before a softmax, so that nothing is lost in its logarithm; Keras's equal them with
`from_logits=True`. Losses of numbers look at predictions and targets of the same shape, (batch, outputs), or a whole
example. Every function here gives an example's loss, (batch,), or that of each of its numbers, (batch, outputs).

K. Crammer, Y. Singer, JMLR 2, 2001 (hinge); P. Huber, Ann. Math. Statist. 35, 1964; T.-Y. Lin et al., "Focal Loss for
Dense Object Detection", 2017, https://arxiv.org/abs/1708.02002.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlx.config.names import Named, bind_choice
from dlx.errors import UsageError

# A name, a name with its settings, or an object (`_target_`) that is called with (scores, labels): see `OwnLoss`.
ClassificationLoss = Annotated[Any, Named("classification loss")]
RegressionLoss = Annotated[Any, Named("regression loss")]
ReconstructionLoss = Annotated[Any, Named("reconstruction loss")]
NumberLoss = Callable[[Tensor, Tensor], Tensor]  # of predictions and targets

EPSILON = 1e-7  # what Keras puts below what is divided by and under logarithms


# -- numbers -----------------------------------------------------------------------------------------------------------


def squared_error(prediction: Tensor, y: Tensor) -> Tensor:
    """Return (y - ŷ)²."""
    return (prediction - y).square()


def absolute_error(prediction: Tensor, y: Tensor) -> Tensor:
    """Return |y - ŷ|."""
    return (prediction - y).abs()


def huber(prediction: Tensor, y: Tensor, delta: float = 1.0) -> Tensor:
    """Return ½ e², and beyond |e| = delta the line that goes on from there."""
    return F.huber_loss(prediction, y.to(prediction), reduction="none", delta=delta)


def log_cosh(prediction: Tensor, y: Tensor) -> Tensor:
    """Return log cosh e, which is ½ e² for small errors and |e| - log 2 for large ones."""
    error = prediction - y
    return error + F.softplus(-2 * error) - torch.log(torch.tensor(2.0)).to(error)


def percentage_error(prediction: Tensor, y: Tensor) -> Tensor:
    """Return 100 |e / y|."""
    return 100 * ((y - prediction) / y.abs().clamp(min=EPSILON)).abs()


def squared_logarithmic_error(prediction: Tensor, y: Tensor) -> Tensor:
    """Return (log(1 + y) - log(1 + ŷ))²; what is below zero counts as zero."""
    return (prediction.clamp(min=EPSILON).log1p() - y.clamp(min=EPSILON).log1p()).square()


def poisson(prediction: Tensor, y: Tensor) -> Tensor:
    """Return ŷ - y log ŷ, the negative log-likelihood of counts y at the rate ŷ without its constant log y!.

    The rates must be above zero: a network's output is behind softplus or exponential (torch's loss takes logarithms).
    """
    return prediction - y * (prediction + EPSILON).log()


def negative_cosine(prediction: Tensor, y: Tensor) -> Tensor:
    """Return -cos(y, ŷ), (batch,)."""
    return -F.cosine_similarity(prediction.flatten(1), y.to(prediction).flatten(1), dim=1, eps=1e-8)


def divergence(prediction: Tensor, y: Tensor) -> Tensor:
    """Return Σ y log(y / ŷ), (batch,), of shares y and ŷ."""
    y, prediction = y.clamp(EPSILON, 1), prediction.clamp(EPSILON, 1)
    return (y * (y / prediction).log()).flatten(1).sum(1)


NUMBER_LOSSES: dict[str, Callable[..., Tensor]] = {
    "mse": squared_error,
    "mae": absolute_error,
    "huber": huber,
    "log_cosh": log_cosh,
    "mape": percentage_error,
    "msle": squared_logarithmic_error,
    "poisson": poisson,
    "cosine_similarity": negative_cosine,
    "kl_divergence": divergence,
}
IN_DATA_UNITS = ("mape", "msle", "poisson", "kl_divergence")  # which standardized targets would make nonsense of
NEEDS_PLAIN_TARGETS = ("poisson", "kl_divergence")  # counts and shares: a network learns these as they are


def make_number_loss(kind: str, given: Any, registry: Mapping[str, Callable[..., Tensor]]) -> tuple[str, NumberLoss]:
    """Return the name and the function of a loss of predictions and targets; a loss of one's own is called `own`.

    Raises:
        UsageError: there is no such loss, or it has no such settings.
    """
    if callable(given):
        return "own", OwnLoss(given)
    name, function, settings = bind_choice(kind, given, registry, skip=2)
    return name, partial(function, **settings) if settings else function


class OwnLoss:
    """A loss that the user wrote: any callable of (predictions, targets), such as a module of torch.nn.

    It may return each example's loss, (batch,), that of each of its numbers, (batch, ...), or the mean, 0-d.
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Any]) -> None:
        self.function = function

    def __call__(self, prediction: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each example, (batch,), or the mean, 0-d.

        Raises:
            UsageError: it is no tensor of such a shape.
        """
        if isinstance(self.function, nn.Module):
            self.function.to(prediction.device)
        value = self.function(prediction, y)
        if not isinstance(value, Tensor) or (value.ndim and len(value) != len(prediction)):
            found = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise UsageError(
                f"task.loss={type(self.function).__name__} returned {found} for predictions "
                f"{tuple(prediction.shape)}; needed: a number for each example, ({len(prediction)},), or the mean, 0-d"
            )
        return value.flatten(1).mean(1) if value.ndim > 1 else value


# -- classes -----------------------------------------------------------------------------------------------------------


class ClassScores(NamedTuple):
    """What a network says of a batch, and what is right."""

    scores: Tensor  # (batch, classes), before a softmax or sigmoid
    shown: Tensor  # (batch, classes), behind the network's output activation
    labels: Tensor  # (batch,) int64
    targets: Tensor  # (batch, classes): shares that are right, a one where labels are not smoothed

    @property
    def signs(self) -> Tensor:
        """The targets as 1 and -1."""
        return 2 * self.targets - 1


def cross_entropy(s: ClassScores) -> Tensor:
    """Return -Σ t log softmax(s), (batch,)."""
    return -(s.targets * s.scores.log_softmax(1)).sum(1)


def binary_cross_entropy(s: ClassScores) -> Tensor:
    """Return -t log σ(s) - (1 - t) log(1 - σ(s)), the mean over the classes: each a question of its own."""
    return F.binary_cross_entropy_with_logits(s.scores, s.targets, reduction="none").mean(1)


def margin(s: ClassScores) -> Tensor:
    """Return Σ_j max(0, 1 - s_y + s_j) / classes over the wrong classes j: torch's multi-margin loss."""
    return F.multi_margin_loss(s.shown, s.labels, reduction="none")


def largest_margin(s: ClassScores) -> Tensor:
    """Return max(0, 1 - s_y + the largest wrong score, or 0 if that is larger): Keras's."""
    right, wrong = (s.targets * s.shown).sum(1), ((1 - s.targets) * s.shown).amax(1)
    return (wrong - right + 1).clamp(min=0)


def one_vs_rest_hinge(s: ClassScores) -> Tensor:
    """Return max(0, 1 - t s) with t = ±1, the mean over the classes."""
    return (1 - s.signs * s.shown).clamp(min=0).mean(1)


def squared_hinge(s: ClassScores) -> Tensor:
    """Return max(0, 1 - t s)² with t = ±1, the mean over the classes."""
    return (1 - s.signs * s.shown).clamp(min=0).square().mean(1)


def class_divergence(s: ClassScores) -> Tensor:
    """Return Σ t log(t / softmax(s)): the cross-entropy less the entropy of smoothed labels."""
    return (torch.xlogy(s.targets, s.targets) - s.targets * s.scores.log_softmax(1)).sum(1)


def class_poisson(s: ClassScores) -> Tensor:
    """Return p - t log p with p = softmax(s), the mean over the classes."""
    log_p = s.scores.log_softmax(1)
    return (log_p.exp() - s.targets * log_p).mean(1)


def focal(s: ClassScores, gamma: float = 2.0, alpha: float = 0.25) -> Tensor:
    """Return -α Σ t (1 - p)^γ log p with p = softmax(s): what is easy counts little."""
    log_p = s.scores.log_softmax(1)
    return -(alpha * s.targets * (-log_p.expm1()) ** gamma * log_p).sum(1)


def binary_focal(s: ClassScores, gamma: float = 2.0, alpha: float | None = None) -> Tensor:
    """Return (1 - p_t)^γ times the binary cross-entropy, p_t the probability of what is right, the mean over classes.

    Args:
        s: scores and targets.
        gamma: how little counts what is easy.
        alpha: weight of the label's own class, 1 - alpha that of the others; None for no weights.
    """
    p = s.scores.sigmoid()
    right = s.targets * p + (1 - s.targets) * (1 - p)
    losses = F.binary_cross_entropy_with_logits(s.scores, s.targets, reduction="none") * (1 - right) ** gamma
    if alpha is not None:
        losses = losses * (s.targets * alpha + (1 - s.targets) * (1 - alpha))
    return losses.mean(1)


def _by_numbers(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return the loss of classes that compares what the network shows with the one-hot label, as numbers."""

    def compare(s: ClassScores, **settings: Any) -> Tensor:
        losses = function(s.shown, s.targets, **settings)
        return losses.mean(1) if losses.ndim > 1 else losses

    return compare


def class_huber(s: ClassScores, delta: float = 1.0) -> Tensor:
    """Return Huber's loss of what is shown and the one-hot label, the mean over the classes."""
    return huber(s.shown, s.targets, delta).mean(1)


class ClassLoss(NamedTuple):
    """A loss of classes.

    Args:
        function: of the scores, and its settings.
        link: what makes probabilities of its scores: softmax, sigmoid, or None where they are none.
        smooths: whether smoothed labels mean something to it.
    """

    function: Callable[..., Tensor]
    link: str | None
    smooths: bool = True


CLASS_LOSSES: dict[str, ClassLoss] = {
    "cross_entropy": ClassLoss(cross_entropy, "softmax"),
    "binary_cross_entropy": ClassLoss(binary_cross_entropy, "sigmoid"),
    "mse": ClassLoss(_by_numbers(squared_error), None),
    "mae": ClassLoss(_by_numbers(absolute_error), None),
    "huber": ClassLoss(class_huber, None),
    "log_cosh": ClassLoss(_by_numbers(log_cosh), None),
    "hinge": ClassLoss(margin, None, smooths=False),
    "squared_hinge": ClassLoss(squared_hinge, None, smooths=False),
    "categorical_hinge": ClassLoss(largest_margin, None, smooths=False),
    "one_vs_rest_hinge": ClassLoss(one_vs_rest_hinge, None, smooths=False),
    "kl_divergence": ClassLoss(class_divergence, "softmax"),
    "poisson": ClassLoss(class_poisson, "softmax"),
    "cosine_similarity": ClassLoss(_by_numbers(negative_cosine), None),
    "focal": ClassLoss(focal, "softmax"),
    "binary_focal": ClassLoss(binary_focal, "sigmoid"),
}


class Criterion:
    """The loss of a classification.

    Args:
        given: a name, a name with its settings, or a callable of (scores, labels).
        smoothing: part of the target's probability that is spread evenly over all classes, while learning.

    Raises:
        UsageError: there is no such loss, it has no such settings, or smoothed labels mean nothing to it.
    """

    def __init__(self, given: Any, smoothing: float = 0.0) -> None:
        self.smoothing = smoothing
        self.own = OwnLoss(given) if callable(given) else None
        self.name, self.link, smooths = "own", None, False
        if self.own is None:
            functions = {name: loss.function for name, loss in CLASS_LOSSES.items()}
            self.name, self.function, self.settings = bind_choice("classification loss", given, functions, skip=1)
            _, self.link, smooths = CLASS_LOSSES[self.name]
        if smoothing and not smooths:
            able = ", ".join(name for name, loss in CLASS_LOSSES.items() if loss.smooths)
            raise UsageError(
                f"task.label_smoothing={smoothing:g} was given with the loss {self.name}, which has no use for it; "
                f"needed: one of {able}; type task.label_smoothing=0"
            )

    def losses(self, scores: Tensor, labels: Tensor, shown: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
        """Return the loss of each example, (batch,); one's own may give the mean, 0-d.

        Args:
            scores: (batch, classes), before a softmax.
            labels: (batch,).
            shown: (batch, classes), behind the network's softmax, if it has one.
            smoothing: as in the constructor.
        """
        shown = scores if shown is None else shown
        if self.own is not None:
            return self.own(shown, labels)
        if self.name == "cross_entropy":  # torch's own, which is fused
            return F.cross_entropy(scores, labels, reduction="none", label_smoothing=smoothing)
        classes = scores.shape[1]
        targets = F.one_hot(labels, classes).to(scores.dtype)
        targets = targets if not smoothing else targets * (1 - smoothing) + smoothing / classes
        return self.function(ClassScores(scores, shown, labels, targets), **self.settings)

    def mean(self, scores: Tensor, labels: Tensor, shown: Tensor | None = None) -> Tensor:
        """Return what is minimised, 0-d, of smoothed labels."""
        if self.name == "cross_entropy":
            return F.cross_entropy(scores, labels, label_smoothing=self.smoothing)
        return self.losses(scores, labels, shown, self.smoothing).mean()
