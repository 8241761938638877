"""What is chosen by a name within a configuration: losses, initializers, constraints, activations.

The names of dlx, and beside them those of Keras and torch with what they are called here: this is the one table of
foreign names. It is read without torch, so that a misspelled name is found before anything is loaded. The functions
behind the names stand in one registry for each kind: `dlx.models.initializers`, `dlx.models.activations`,
`dlx.models.constraints`, `dlx.tasks.losses`.

A choice is a name, or a mapping of one name to its settings: `he_normal`, `{normal: {std: 0.01}}`. A single setting,
the first, may stand alone: `{leaky_relu: 0.3}`.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dlx.config.report import find_closest, join_names
from dlx.config.static.schema import Kind, format_value
from dlx.errors import UsageError

Made = TypeVar("Made")
Choice = str | Mapping[str, Any]  # a name, or a name with its settings


@dataclass(frozen=True)
class Names:
    """The names of one kind of thing.

    Args:
        what: what they name, for messages.
        own: names in dlx.
        foreign: names elsewhere, and what they are here: a name, or a name with settings.
        numbers: whether a number may stand in a name's place.
    """

    what: str
    own: tuple[str, ...]
    foreign: Mapping[str, Choice] = field(default_factory=dict)
    numbers: bool = False

    def resolve(self, name: str) -> Choice | None:
        """Return what a name is here: itself, or what the table says; None for an unknown one. Spelling is free."""
        plain = _simplify(name)
        own = next((one for one in self.own if _simplify(one) == plain), None)
        return own or next((there for one, there in self.foreign.items() if _simplify(one) == plain), None)

    def suggest(self, name: str) -> str | None:
        """Return the known name that was probably meant, dlx's or a foreign one; None where none is close."""
        return find_closest(name, [*self.own, *self.foreign])


def _simplify(name: str) -> str:
    return name.replace("_", "").replace(" ", "").lower()


_ERRORS = {
    "mean_squared_error": "mse",
    "mse_loss": "mse",
    "mean_absolute_error": "mae",
    "l1_loss": "mae",
    "huber_loss": "huber",
    "cosine": "cosine_similarity",
}
NAMES: dict[str, Names] = {
    "initializer": Names(
        "an initializer",
        (
            "default",
            "zeros",
            "ones",
            "constant",
            "normal",
            "truncated_normal",
            "uniform",
            "variance_scaling",
            "orthogonal",
            "identity",
            "lecun_uniform",
            "lecun_normal",
            "xavier_uniform",
            "xavier_normal",
            "he_uniform",
            "he_normal",
        ),
        {
            "random_normal": "normal",
            "random_uniform": "uniform",
            "glorot_uniform": "xavier_uniform",
            "glorot_normal": {"xavier_normal": {"truncated": True}},  # as Keras's is
            "kaiming_uniform": "he_uniform",
            "kaiming_normal": "he_normal",
            "trunc_normal": "truncated_normal",
            "eye": "identity",
        },
        numbers=True,
    ),
    "constraint": Names(
        "a constraint",
        ("max_norm", "min_max_norm", "unit_norm", "non_negative"),
        {"non_neg": "non_negative", "unit_norm_constraint": "unit_norm"},
    ),
    "activation": Names(
        "an activation",
        (
            "relu",
            "relu6",
            "leaky_relu",
            "prelu",
            "rrelu",
            "elu",
            "selu",
            "celu",
            "gelu",
            "silu",
            "mish",
            "sigmoid",
            "hard_sigmoid",
            "log_sigmoid",
            "tanh",
            "hard_tanh",
            "softplus",
            "softsign",
            "exponential",
            "softmax",
            "log_softmax",
            "softmin",
            "softmax2d",
            "hard_swish",
            "hard_shrink",
            "soft_shrink",
            "tanh_shrink",
            "threshold",
            "glu",
            "linear",
        ),
        {"swish": "silu", "hard_silu": "hard_swish", "exp": "exponential", "identity": "linear", "logistic": "sigmoid"},
    ),
    "classification loss": Names(
        "a loss of classes",
        (
            "cross_entropy",
            "binary_cross_entropy",
            "mse",
            "mae",
            "huber",
            "log_cosh",
            "hinge",
            "squared_hinge",
            "categorical_hinge",
            "one_vs_rest_hinge",
            "kl_divergence",
            "poisson",
            "cosine_similarity",
            "focal",
            "binary_focal",
        ),
        {
            "categorical_crossentropy": "cross_entropy",
            "sparse_categorical_crossentropy": "cross_entropy",
            "categorical_cross_entropy": "cross_entropy",
            "binary_crossentropy": "binary_cross_entropy",
            "bce_with_logits": "binary_cross_entropy",
            "categorical_focal_crossentropy": "focal",
            "binary_focal_crossentropy": "binary_focal",
            **_ERRORS,
            "multi_margin_loss": "hinge",
            "kld": "kl_divergence",
            "kl_div": "kl_divergence",
        },
    ),
    "regression loss": Names(
        "a loss of numbers",
        ("mse", "mae", "huber", "log_cosh", "mape", "msle", "poisson", "cosine_similarity", "kl_divergence"),
        {
            **_ERRORS,
            "smooth_l1_loss": "huber",
            "mean_absolute_percentage_error": "mape",
            "mean_squared_logarithmic_error": "msle",
            "kld": "kl_divergence",
            "kl_div": "kl_divergence",
        },
    ),
    "reconstruction loss": Names(
        "a loss of reconstructions",
        ("mse", "cross_entropy", "binary_cross_entropy", "mae", "huber", "log_cosh", "poisson", "cosine_similarity"),
        {
            "binary_crossentropy": "binary_cross_entropy",
            **_ERRORS,
            "smooth_l1_loss": "huber",
        },
    ),
    "regression metric": Names(
        "a metric of numbers",
        ("mape", "msle", "log_cosh", "cosine_similarity", "explained_variance"),
        {
            "mean_absolute_percentage_error": "mape",
            "mean_squared_logarithmic_error": "msle",
            "mean_squared_log_error": "msle",
            "cosine": "cosine_similarity",
        },
    ),
}

# Options of groups that have another name here.
OPTIONS: dict[str, dict[str, str]] = {
    "optimizer": {"gradient_descent": "sgd", "follow_the_regularized_leader": "ftrl"},
    "scheduler": {
        "ExponentialLR": "exponential",
        "polynomial_decay": "polynomial",
        "PolynomialLR": "polynomial",
        "inverse_time_decay": "inverse_time",
        "piecewise_constant_decay": "piecewise_constant",
        "cosine_decay": "cosine",
        "CosineAnnealingLR": "cosine",
        "cosine_decay_restarts": "cosine_restarts",
        "CosineAnnealingWarmRestarts": "cosine_restarts",
        "ReduceLROnPlateau": "plateau",
        "LinearLR": "warmup",
        "StepLR": "step",
        "MultiStepLR": "multistep",
        "OneCycleLR": "one_cycle",
    },
}

# Keys that Keras has, and what is set here instead.
KEYS: dict[str, str] = {
    "kernel_initializer": "kernel_init",
    "recurrent_initializer": "recurrent_init",
    "bias_initializer": "bias_init",
    "kernel_regularizer": "l1 and l2",
    "recurrent_regularizer": "recurrent_l1 and recurrent_l2",
    "bias_regularizer": "bias_l1 and bias_l2",
    "activity_regularizer": "activity_l1 and activity_l2",
    "l1_l2": "l1 and l2",
    "regularizer": "l1 and l2",
    "learning_rate": "lr",
    "epsilon": "eps",
    "beta_1": "betas",
    "beta_2": "betas",
    "rho": "alpha",
}


def explain_foreign_key(key: str, known: Iterable[str]) -> str | None:
    """Return what is set here instead of a key of Keras's, where one of these keys can be set; None for others."""
    here = KEYS.get(key)
    return here if here and here.split(" and ")[0] in known else None


def find_foreign_option(group: str, option: str) -> str | None:
    """Return what an option of a group is called here, where it has another name elsewhere; None for any other."""
    plain = _simplify(option)
    return next((here for name, here in OPTIONS.get(group, {}).items() if _simplify(name) == plain), None)


@dataclass(frozen=True)
class Named:
    """An annotation: `Annotated[Any, Named("initializer")]` asks for one of these names; see `Names`."""

    kind: str


@dataclass(frozen=True)
class NameKind(Kind):
    """A name of one kind, or a name with its settings, a mapping of one key."""

    names: str

    def accepts(self, value: Any) -> bool:
        known = NAMES[self.names]
        if isinstance(value, Mapping) and len(value) == 1:
            (value,) = value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return known.numbers
        return isinstance(value, str) and known.resolve(value) is not None

    def suggest(self, value: Any) -> str | None:
        return NAMES[self.names].suggest(value) if isinstance(value, str) else None

    def __str__(self) -> str:
        known = NAMES[self.names]
        return f"one of {join_names(known.own, 40)}" + (", or a number" if known.numbers else "")


def split_choice(kind: str, given: Any) -> tuple[str, Any]:
    """Return the name in dlx of a choice, and its settings: None, a mapping, or a single value for the first.

    Raises:
        UsageError: there is no such name, or it is no choice.
    """
    known = NAMES[kind]
    name, settings = next(iter(given.items())) if isinstance(given, Mapping) and len(given) == 1 else (given, None)
    here = known.resolve(name) if isinstance(name, str) else None
    if here is None:
        near = known.suggest(name) if isinstance(name, str) else None
        number = ", or a number" if known.numbers else ""
        raise UsageError(
            f"{kind} {format_value(given)!r} was given{f'; did you mean {near}?' if near else ''}; needed: "
            f"{join_names(known.own, 40)}{number}; settings are written {{NAME: {{KEY: VALUE}}}}"
        )
    if not isinstance(here, str):
        ((here, implied),) = here.items()
        if settings is None or isinstance(settings, Mapping):
            settings = {**implied, **(settings or {})}
    return here, settings


def bind_choice(
    kind: str, given: Any, registry: Mapping[str, Callable[..., Made]], skip: int = 0
) -> tuple[str, Callable[..., Made], dict[str, Any]]:
    """Return the name of a choice, its function in a registry, and the keyword arguments that its settings make.

    Args:
        kind: of `NAMES`.
        given: the choice.
        registry: functions by dlx's names.
        skip: how many of the function's first arguments are not settings.

    Raises:
        UsageError: an unknown name, or settings that it does not take.
    """
    name, settings = split_choice(kind, given)
    function = registry[name]
    taken = [p.name for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD][skip:]
    if settings is None:
        return name, function, {}
    values = dict(settings) if isinstance(settings, Mapping) else {taken[0]: settings} if taken else {"": settings}
    wrong = [key for key in values if key not in taken]
    if wrong:
        shown = f"its settings are {', '.join(taken)}" if taken else "it has no settings"
        raise UsageError(f"{kind} {name} was given {format_value(settings)}; {shown}")
    return name, function, values
