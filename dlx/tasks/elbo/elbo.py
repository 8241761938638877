"""The evidence of latent-variable models, by bounds: the ELBO, and that of several importance-weighted samples."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.metrics import Metric
from dlx.models.autoencoders.vae.base import Variational
from dlx.models.autoencoders.vae.latent import Evidence
from dlx.tasks.elbo import pictures
from dlx.tasks.task import Task
from dlx.types import Count, Natural

if TYPE_CHECKING:
    from dlx.datasets.dataset import Dataset

MIN_SAMPLES_AT_ONCE = 16  # samples of one example that are decoded together at least, if there are so many


class ELBO(Task):
    """log p(x) ≥ L_k = E log (1/k) Σ p(x, z_i) / q(z_i | x), in nats; L_1 is the ELBO, its divergence in closed form.

    Every likelihood is named by the binarization of its data, since they do not compare: `elbo_static`,
    `elbo_stochastic`, `elbo_threshold` (see `dataset.binarize`); `elbo_unbinarized` are those of a Bernoulli likelihood
    for values between 0 and 1, and no likelihoods; `elbo` alone are densities of a Gaussian likelihood.

    `kl` is the mean divergence of a code from the prior in nats, `reconstruction` (named like the ELBO, which is
    -(reconstruction + kl)) the mean of -log p(x | z), `active_units` counts the dimensions whose mean code has a
    variance above 0.01 over the split (Burda et al. 2016, §5.2). With β ≠ 1 `beta_elbo` weighs kl by it. Evaluation
    draws the same codes each time, so that epochs compare.

    Args:
        bound: what is maximised: `elbo`, the mean over `samples` codes of an example, or `importance`, L_k for
            k = `samples`.
        samples: codes of each example, k.
        importance: k of an estimate of log p(x) by L_k, `log_p_K`, such as 5000; 0 for none. It takes k decoder
            passes an example, a few at a time: type dlx evaluate RUN task.importance=5000.
        pictured: samples drawn, and examples reconstructed (a quarter as many).
        seed: of the codes drawn in evaluation and of the fixed codes that pictures show.
    """

    needs: ClassVar[str | None] = None
    monitor = "elbo"
    declares: ClassVar[tuple[str | Metric, ...]] = (
        "elbo",
        "elbo_*",
        "beta_elbo",
        "beta_elbo_*",
        "bound_[0-9]*",
        "log_p_[0-9]*",
        "reconstruction",
        "reconstruction_*",
        "kl",
        "active_units",
        "importance_effective",
    )

    def __init__(
        self,
        bound: Literal["elbo", "importance"] = "elbo",
        samples: Count = 1,
        importance: Natural = 0,
        pictured: Count = 64,
        seed: int = 0,
    ) -> None:
        self.bound, self.samples, self.importance = bound, samples, importance
        self.pictured, self.seed = pictured, seed
        self.binarize = "none"
        self.names: list[str] | None = None  # of the classes
        self.suffix = ""

    def attach(self, dataset: "Dataset") -> None:
        self.binarize = getattr(dataset, "binarize", "none")
        self.names = dataset.names

    def validate_model(self, model: nn.Module) -> None:
        if not isinstance(model, Variational):
            raise UsageError(
                f"task=elbo was given the model {type(model).__name__}; needed: one with codes and a likelihood, such "
                "as vae or conv_vae; type another task= (dlx list tasks)"
            )
        if self.binarize != "none":
            self.suffix = f"_{self.binarize}"
        else:
            self.suffix = "_unbinarized" if model.kind == "bernoulli" else ""
        if self.bound == "importance" and self.samples > 1:
            self.monitor = f"bound_{self.samples}{self.suffix}"
        else:
            self.monitor = f"elbo{self.suffix}" if model.full_beta == 1 else f"beta_elbo{self.suffix}"

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        vae = cast(Variational, model)
        if self.bound == "importance" and self.samples > 1:
            return -importance_bound(vae.log_weights(batch.x, batch.y, self.samples, vae.beta())).mean()
        log_likelihood, divergence = vae.elbo_terms(batch.x, batch.y, self.samples)
        return vae.beta() * (divergence.sum() / len(batch.x)) - log_likelihood.mean()

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return nothing for single examples; see `split_metrics`, where one generator draws for all of them."""
        return {}

    def split_metrics(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        vae, sums, examples = cast(Variational, model), _Sums(), 0
        # Two generators: the ELBO is the same whether log p is asked for or not.
        device = vae.last_bias().device
        elbo_generator, weights_generator = (torch.Generator(device).manual_seed(self.seed + i) for i in (0, 1))
        for batch in batches:
            examples += len(batch.x)
            self._measure(vae, batch, elbo_generator, weights_generator, sums)
        means = {name: total / examples for name, total in sums.fetch().items()}
        codes, squares = means.pop("codes"), means.pop("squares")
        values = {name: float(mean) for name, mean in means.items()}
        metrics: dict[str, float] = {f"elbo{self.suffix}": -(values["reconstruction"] + values["kl"])}
        if vae.full_beta != 1:
            metrics[f"beta_elbo{self.suffix}"] = -(values["reconstruction"] + vae.full_beta * values["kl"])
        for name in ("bound", "log_p"):
            if name in values:
                k = self.samples if name == "bound" else self.importance
                metrics[f"{name}_{k}{self.suffix}"] = values[name]
        metrics |= {f"reconstruction{self.suffix}": values["reconstruction"], "kl": values["kl"]}
        metrics["active_units"] = float((squares - codes.square() > 0.01).sum())
        if "effective" in values:
            metrics["importance_effective"] = values["effective"]
        return metrics

    def _measure(
        self,
        vae: Variational,
        batch: Batch,
        elbo_generator: torch.Generator,
        weights_generator: torch.Generator,
        sums: "_Sums",
    ) -> None:
        """Add a batch's values to the sums."""
        q = vae.posterior(batch.x, batch.y)
        log_likelihood, divergence = vae.elbo_terms(batch.x, batch.y, 1, elbo_generator)
        sums.add("reconstruction", -log_likelihood[:, 0])
        sums.add("kl", divergence.sum(1))
        sums.add("codes", q.mean)
        sums.add("squares", q.mean.square())
        if self.bound == "importance" and self.samples > 1:
            sums.add("bound", estimate_evidence(vae, batch, self.samples, weights_generator).bound())
        if self.importance:
            evidence = estimate_evidence(vae, batch, self.importance, weights_generator)
            sums.add("log_p", evidence.bound())
            sums.add("effective", evidence.effective_sample_size())

    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return reconstructions, (batch, *shape)."""
        return cast(Variational, model).reconstruct(x)

    def predictions(self, model: nn.Module, x: Tensor) -> dict[str, Tensor]:
        """Return reconstructions, codes, and of a conditional model the likeliest label."""
        vae = cast(Variational, model)
        labels = vae.classify(x) if vae.conditional else None
        columns = {"reconstruction": vae.reconstruct(x, labels), "code": vae.encode(x, labels)}
        return columns if labels is None else {**columns, "label": labels}

    def pictures(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, Tensor]:
        """Draw reconstructions, samples on fixed codes, ways from one code to another, and a map of the codes."""
        return pictures.draw_pictures(cast(Variational, model), batches, self.pictured, self.names, self.seed)


def importance_bound(log_weights: Tensor) -> Tensor:
    """Compute log (1/k) Σ w, (batch,), of log weights (batch, k).

    Its gradient weighs those of log w by w / Σ w (eq. 14).
    """
    return log_weights.logsumexp(1) - math.log(log_weights.shape[1])


@torch.no_grad()
def estimate_evidence(vae: Variational, batch: Batch, k: int, generator: torch.Generator | None = None) -> Evidence:
    """Estimate log p(x) of each example by k importance-weighted samples; some of some examples at a time."""
    examples, room = len(batch.x), vae.max_codes(batch.x.device)
    evidence = Evidence(examples, k, batch.x.device)
    examples_at_once = min(examples, max(1, room // min(k, MIN_SAMPLES_AT_ONCE)))
    samples_at_once = max(1, room // examples_at_once)
    for low in range(0, examples, examples_at_once):
        at = slice(low, low + examples_at_once)
        x, y = batch.x[at], None if batch.y is None else batch.y[at]
        q = vae.posterior(x, y)
        for first in range(0, k, samples_at_once):
            evidence.add(vae.log_weights(x, y, min(samples_at_once, k - first), generator=generator, q=q), at)
    return evidence


class _Sums:
    """Sums over a split, kept in float64 on the device and fetched once."""

    def __init__(self) -> None:
        self.totals: dict[str, Any] = {}

    def add(self, name: str, values: Tensor) -> None:
        """Add values (batch, ...) to the sum of this name."""
        wide = torch.float32 if values.device.type == "mps" else torch.float64
        self.totals[name] = self.totals.get(name, 0) + values.to(wide).sum(0)

    def fetch(self) -> dict[str, Tensor]:
        """Return the sums on the processor, in float64."""
        return {name: total.cpu().double() for name, total in self.totals.items()}
