"""The metrics that runs report: name, direction, unit and meaning of each, in one catalogue, without torch.

Tasks, models and procedures say what they emit by a class attribute `declares`: names of the catalogue, or `Metric`
objects for metrics of their own. A subclass' declaration adds to those of its bases. What ranks runs, searches or
lowers a learning rate reads the direction here; nothing is guessed from a name.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple

from dlx.errors import UsageError

Direction = Literal["max", "min"]
SPLITS = ("train", "val", "test")


class Metric(NamedTuple):
    """A metric: what it is called, which way is better, in which unit it is, and what it means.

    Args:
        name: without the split, such as `accuracy`; `*` and `[0-9]` stand for parts that vary, as in `top[0-9]*_error`.
        direction: max or min; None for what is reported and not optimised, such as a learning rate.
        unit: such as nats; data for that of the data's targets or series; input for that of the inputs as a model sees
            them, after scaling; empty for a bare number.
        meaning: one line.
    """

    name: str
    direction: Direction | None
    unit: str = ""
    meaning: str = ""

    def matches(self, name: str) -> bool:
        """Return whether a name is this metric's, or one of its pattern's."""
        return name == self.name or fnmatchcase(name, self.name)


# In order of preference: of several, the first one represents a run that chose its best by none of them.
CATALOGUE: tuple[Metric, ...] = (
    # classification and tagging
    Metric("accuracy", "max", "", "part of the examples, or steps, that are classified right"),
    Metric("error", "min", "", "part that is wrong: of examples, steps, bits or units"),
    Metric("top[0-9]*_accuracy", "max", "", "part of the examples whose label is among the k largest scores"),
    Metric("top[0-9]*_error", "min", "", "part of the examples whose label is not among the k largest scores"),
    Metric("balanced_accuracy", "max", "", "mean of the classes' recalls"),
    Metric("macro_f1", "max", "", "mean of the classes' F1"),
    Metric("auroc", "max", "", "area under the ROC curve; of more than two classes the mean of each against the rest"),
    Metric("average_precision", "max", "", "the same of the precision-recall curve"),
    Metric("log_loss", "min", "nats", "mean of -log p of the label"),
    Metric("brier", "min", "", "mean squared distance of the probabilities to the label"),
    Metric("calibration_error", "min", "", "gap between confidence and accuracy, over bins of the confidence"),
    Metric("sequence_accuracy", "max", "", "part of the sequences that are right at every step"),
    # regression
    Metric("r2", "max", "", "coefficient of determination, 1 for a perfect prediction"),
    Metric("rmse", "min", "data", "root of the mean squared error"),
    Metric("mae", "min", "data", "mean absolute error"),
    Metric("median_absolute_error", "min", "data", "median of the absolute errors, the mean over the outputs"),
    Metric("mse", "min", "data²", "mean squared error"),
    Metric("mape", "min", "%", "mean of the absolute error over the target's size"),
    Metric("msle", "min", "", "mean squared error of log(1 + y)"),
    Metric("log_cosh", "min", "", "mean of log cosh of the error"),
    Metric("cosine_similarity", "max", "", "cosine of the angle between an example's outputs and its targets"),
    # densities
    Metric("log_likelihood", "max", "nats", "exact log-likelihood of an example, the mean"),
    Metric("log_likelihood_ais", "max", "nats", "log-likelihood by an estimate of log Z"),
    Metric("log_likelihood_ais_low", "max", "nats", "the same, three standard errors below"),
    Metric("log_likelihood_ais_high", "max", "nats", "the same, three standard errors above"),
    Metric("log_likelihood_bound", "max", "nats", "variational lower bound on the log-likelihood"),
    Metric("log_likelihood_bound_ais", "max", "nats", "lower bound by an estimate of log Z"),
    Metric("log_likelihood_bound_ais_low", "max", "nats", "the same, three standard errors below"),
    Metric("log_likelihood_bound_ais_high", "max", "nats", "the same, three standard errors above"),
    Metric("log_p_[0-9]*", "max", "nats", "estimate of log p(x) by so many importance-weighted samples"),
    Metric("bound_[0-9]*", "max", "nats", "bound of so many importance-weighted samples, that is trained by"),
    Metric("beta_elbo", "max", "nats", "ELBO with its divergence weighted by β"),
    Metric("beta_elbo_*", "max", "nats", "the same, named by the data's binarization"),
    Metric("elbo", "max", "nats", "evidence lower bound on log p(x)"),
    Metric("elbo_*", "max", "nats", "evidence lower bound, named by the data's binarization"),
    Metric("impossible", "min", "", "part of the sequences whose probability is zero"),
    Metric("pseudo_log_likelihood", "max", "nats", "sum of each unit's log-probability, given all others"),
    Metric("reconstruction", "min", "nats", "mean of -log p(x | z)"),
    Metric("reconstruction_error", "min", "input²", "mean squared distance to the reconstruction"),
    Metric("reconstruction_*", "min", "nats", "mean of -log p(x | z), named by the data's binarization"),
    Metric("kl", "min", "nats", "mean divergence of a code from the prior"),
    # sequences
    Metric("bits_per_step", "min", "bits", "negative log-likelihood of a step"),
    Metric("nats_per_step", "min", "nats", "negative log-likelihood of a step"),
    Metric("nats_per_next_step", "min", "nats", "the same without each sequence's first step"),
    Metric("perplexity", "min", "", "exp of the nats of a step"),
    Metric("bits_per_sequence", "min", "bits", "cost of a sequence's answers"),
    Metric("bit_errors_per_sequence", "min", "bits", "answers of a sequence that are wrong"),
    Metric("sequence_error", "min", "", "part of the sequences with an answer that is wrong"),
    # reconstruction
    Metric("explained_variance", "max", "", "part of the variance that is kept"),
    Metric("squared_error", "min", "input²", "squared distance to the reconstruction, summed"),
    # clustering and maps
    Metric("adjusted_rand_index", "max", "", "agreement of clusters and labels, 0 by chance"),
    Metric("normalised_mutual_information", "max", "", "agreement of clusters and labels, from 0 to 1"),
    Metric("silhouette", "max", "", "how far clusters are apart for their width, from -1 to 1"),
    Metric("inertia", "min", "input²", "squared distances to the clusters' centres, summed"),
    Metric("squared_distance", "min", "input²", "mean squared distance to the nearest centre"),
    Metric("quantisation_error", "min", "input", "mean distance to the nearest prototype"),
    Metric("topographic_error", "min", "", "part of the examples whose two nearest units are no neighbours"),
    # memories
    Metric("overlap", "max", "", "mean of ⟨s, ξ⟩ / ⟨ξ, ξ⟩, of recalled state and pattern"),
    Metric("overlap_at_*", "max", "", "the same at this load"),
    Metric("exact", "max", "", "part of the patterns that come back whole"),
    Metric("stable", "max", "", "part of the cues from which the memory came to rest"),
    # generation
    Metric("modes", "max", "", "modes of the data with at least one good sample"),
    Metric("high_quality", "max", "", "part of the samples within 3σ of a mode"),
    Metric("mode_divergence", "min", "nats", "KL of the modes' shares from even ones"),
    Metric("frechet_lenet", "min", "", "Fréchet distance of data and samples in the features of a LeNet-5"),
    Metric("parzen", "max", "nats", "log-likelihood under Gaussians about the samples"),
    Metric("wasserstein_distance", "min", "", "the critic's estimate of the distance of data and samples"),
    # training
    Metric("loss", "min", "", "what is minimised, or would be"),
    Metric("generative_error", "min", "", "how badly the way down predicts the layer below"),
    Metric("sampled_reconstruction_error", "min", "input²", "mean squared distance to the fantasy"),
    Metric("sparsity", "min", "", "mean distance of the units' activities from their target"),
    Metric("steps_per_second", "max", "1/s", "speed of the epoch"),
    # what is reported and not optimised
    Metric("majority_accuracy", None, "", "accuracy of always naming the commonest class: what accuracy has to beat"),
    Metric("free_energy", None, "nats", "-log p(x) up to log Z: compares data under one model only"),
    Metric("variational_free_energy", None, "nats", "a bound on the free energy: compares data under one model only"),
    Metric("log_partition", None, "nats", "log Z, summed"),
    Metric("log_partition_ais", None, "nats", "log Z by annealed importance sampling"),
    Metric("ais_effective_chains", None, "", "independent chains that the estimate of log Z is worth"),
    Metric("importance_effective", None, "", "independent samples that the estimate of log p(x) is worth"),
    Metric("active_units", None, "", "dimensions of the code that depend on the data"),
    Metric("optimal_bits_per_sequence", None, "bits", "cost of the best possible answers"),
    Metric("pca_squared_error", None, "input²", "squared error of so many principal components"),
    Metric("clusters", None, "", "clusters that hold an example"),
    Metric("energy", None, "", "energy of the recalled state"),
    Metric("cue_energy", None, "", "energy of the cue"),
    Metric("cue_overlap", None, "", "overlap of the cue with the pattern"),
    Metric("sweeps", None, "", "sweeps over the units that changed something"),
    Metric("diversity", None, "", "mean distance of samples over that of data: 1 if alike, 0 if collapsed"),
    Metric("discriminator_auc", None, "", "how often data scores above a sample: ½ if they cannot be told apart"),
    Metric("parzen_error", None, "nats", "standard error of parzen over the examples"),
    Metric("parzen_sigma", None, "", "width of the Gaussians, of images in [0, 1]"),
    Metric("discriminator_accuracy", None, "", "part of data and samples that the discriminator tells"),
    Metric("discriminator_loss", None, "", "loss of one player: says nothing by itself"),
    Metric("generator_loss", None, "", "loss of one player: says nothing by itself"),
    Metric("gradient_penalty", None, "", "mean (‖∇D‖ - 1)² between data and samples"),
    Metric("gradient_norm", None, "", "Euclidean norm of the whole gradient"),
    Metric("discriminator_gradient_norm", None, "", "that of the discriminator's"),
    Metric("generator_gradient_norm", None, "", "that of the generator's"),
    Metric("gradient_first", None, "", "norm of the loss's gradient at the first hidden state"),
    Metric("gradient_last", None, "", "norm of the loss's gradient at the last hidden state"),
    Metric("free_energy_gap", None, "nats", "free energy of data less that of fantasies"),
    Metric("energy_gap", None, "nats", "energy of data less that of the chains"),
    Metric("lr", None, "", "learning rate"),
    Metric("discriminator_lr", None, "", "learning rate of the discriminator"),
    Metric("rate", None, "", "learning rate of a map, annealed"),
    Metric("range", None, "", "range of the neighbourhood, annealed"),
    Metric("units", None, "", "units of the network"),
    Metric("edges", None, "", "edges of the network"),
    Metric("components", None, "", "connected components of the network, or principal components"),
    Metric("iterations", None, "", "iterations that the fit took"),
    Metric("patterns", None, "", "patterns that are stored"),
    Metric("load", None, "", "patterns over units"),
    Metric("rank", None, "", "dimension of the patterns' span"),
)


def get_metric_name(tag: str) -> str:
    """Return the name within a tag: `val/best_accuracy` and `train/layer2/accuracy` are both of `accuracy`."""
    split, slash, rest = tag.partition("/")
    name = rest if slash and split in SPLITS else tag
    return re.sub(r"^layer\d+/", "", name if split != "val" else name.removeprefix("best_"))


def find_metric(tag: str, own: Iterable[Metric] = ()) -> Metric | None:
    """Return the metric that a tag, or a name alone, stands for; None where nobody declared it.

    Args:
        tag: such as `val/nats_per_step`, `val/best_accuracy`, `test/loss` or `accuracy`.
        own: declared beside the catalogue; they come first.
    """
    name, known = get_metric_name(tag), (*own, *CATALOGUE)
    exact = next((one for one in known if one.name == name), None)
    return exact or next((one for one in known if one.matches(name)), None)


def get_direction(tag: str, own: Iterable[Metric] = ()) -> Direction | None:
    """Return which way a metric is better, None where it has no direction or nobody declared it; see `find_metric`."""
    found = find_metric(tag, own)
    return found.direction if found else None


def parse_direction(text: object) -> Direction | None:
    """Return max or min; None for anything else."""
    return "max" if text == "max" else "min" if text == "min" else None


def read_directions(about: Mapping[str, Any]) -> tuple[Metric, ...]:
    """Return the metrics that a run declares beside the catalogue, as its run.json has them."""
    directions = about.get("directions") or {}
    return tuple(dict.fromkeys(Metric(get_metric_name(tag), parse_direction(text)) for tag, text in directions.items()))


def list_own_directions(tags: Iterable[str], declared: Sequence[Metric]) -> dict[str, str]:
    """Return what run.json has to keep: the directions of those tags that the catalogue does not know as such."""
    found = {tag: get_direction(tag, declared) for tag in tags}
    return {tag: direction for tag, direction in found.items() if direction and direction != get_direction(tag)}


def resolve_declared(declares: Sequence[Any], owner: str) -> tuple[Metric, ...]:
    """Return the metrics that a `declares` names.

    Args:
        declares: names of the catalogue, and `Metric` objects.
        owner: the class, for the error.

    Raises:
        UsageError: a name is not in the catalogue, or stands there with another direction.
    """
    found: list[Metric] = []
    for one in declares:
        known = next((metric for metric in CATALOGUE if metric.name == (one if isinstance(one, str) else one[0])), None)
        if isinstance(one, str) and known is None:
            raise UsageError(
                f'{owner} declares "{one}", which is not in the catalogue; needed: one of dlx list metrics, or its '
                f'direction; write Metric("{one}", "min") or Metric("{one}", "max")'
            )
        if isinstance(one, Metric):
            known = known or find_metric(one.name)
            if known is not None and known.direction not in (None, one.direction):
                raise UsageError(
                    f"{owner} declares {one.name} as {one.direction}, and dlx has it as {known.direction}; needed: one "
                    "direction for each name; give it another name"
                )
        found.append(one if isinstance(one, Metric) else known)  # type: ignore[arg-type]
    return tuple(dict.fromkeys(found))


def list_declared(kind: type) -> tuple[Metric, ...]:
    """Return what a class and its bases declare.

    Raises:
        UsageError: see `resolve_declared`.
    """
    return tuple(
        dict.fromkeys(
            metric
            for base in kind.__mro__
            for metric in resolve_declared(base.__dict__.get("declares", ()), f"{base.__module__}.{base.__qualname__}")
        )
    )


def split_direction(option: str, given: str) -> tuple[str, Direction | None]:
    """Split `val/fid:min` into the tag and the direction; None where none was typed.

    Args:
        option: such as --metric, for the error.
        given: as typed.

    Raises:
        UsageError: what follows the colon is no direction.
    """
    tag, colon, text = given.rpartition(":")
    if not colon:
        return given, None
    if direction := parse_direction(text):
        return tag, direction
    raise UsageError(f"{option} {given} was given; needed: :min or :max after the name; type {option} {tag}:min")


def require_direction(
    option: str, tag: str, typed: Direction | None, declared: Direction | None, hint: str = ""
) -> Direction:
    """Return the direction of a metric, typed or declared.

    Args:
        option: such as --metric, for the error.
        tag: such as `val/fid`.
        typed: after its name; None for nothing.
        declared: by its task or the catalogue; None for nothing.
        hint: what else helps, put in front of the advice.

    Raises:
        UsageError: neither is there, or they contradict.
    """
    if typed is not None and declared not in (None, typed):
        raise UsageError(
            f"{option} {tag}:{typed} was given; {get_metric_name(tag)} is declared as {declared}; type {option} {tag}"
        )
    direction = typed or declared
    if direction is None:
        name = get_metric_name(tag)
        raise UsageError(
            f"{option} {tag} was given; nothing says which way {name} is better; {hint}type {option} {tag}:min or "
            f'{tag}:max, or declare it in the task: declares = (Metric("{name}", "min"),)'
        )
    return direction
