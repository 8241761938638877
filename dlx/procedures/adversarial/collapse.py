"""Signs that an adversarial game has gone wrong, and what helps.

I. Goodfellow, "NIPS 2016 Tutorial: Generative Adversarial Networks", 2016, https://arxiv.org/abs/1701.00160, §5.1 and
§5.2. The vanishing of the generator's gradient before a sure discriminator: M. Arjovsky, L. Bottou, "Towards
Principled Methods for Training Generative Adversarial Networks", 2017, https://arxiv.org/abs/1701.04862, §2.
"""

from collections import deque
from typing import Any

from torch import Tensor

WINDOW = 10  # measurements that must agree
WARM_UP = 40  # measurements in which samples may become different from each other
COLLAPSED_BELOW = 0.25  # of the data's mean distance: samples nearer to each other than this are too much alike
DIVERSE_FROM = 0.5  # of the same: from which on the beginning is over
SURE_FROM = 0.995  # of both kinds classified rightly
FADED_BELOW = 1e-3  # of the largest gradient seen
MIN_NEAR_MODES = 0.2  # of the samples near a mode, from which on missing modes mean a collapse and no beginning


class CollapseDetector:
    """Look at the last ten measurements, and report each sign once.

    - Collapsed: samples lie near each other, by `diversity` (their mean distance over that of the data). The samples of
      fresh weights do, too: games that go well need up to 750 updates to make them different, so that what was never
      different is reported after 40 measurements only.
    - Sure discriminator: it classifies nearly all of both kinds rightly, and the generator's gradient has faded to
      a thousandth.
    - Missing modes: validation finds samples on modes of the data, and at most half of the modes in use.
    """

    def __init__(self) -> None:
        self.pending: list[dict[str, Tensor]] = []  # measured, on the device, not processed yet
        self.recent: dict[str, deque[float]] = {}
        self.diversity_count = 0  # measurements of diversity
        self.max_diversity = 0.0
        self.max_gradient = 0.0  # of the generator, its norm
        self.modes: dict[str, float] = {}  # of the last validation
        self.reported: list[str] = []  # signs

    def add_measurements(self, values: dict[str, Tensor]) -> None:
        """Take `diversity`, `discriminator_accuracy` or `generator_gradient_norm`, each 0-d; not synchronised."""
        self.pending.append(values)

    def on_validation_end(self, found: float, of: int, near: float) -> None:
        """Take from a validation how many modes were found, of how many, and the part of the samples near one."""
        self.modes = {"found": found, "of": of, "near": near}

    def pop_notices(self) -> list[str]:
        """Return a line for each sign that is new."""
        self._process_pending()
        lines = []
        for sign, line in (
            ("collapsed", self._check_collapsed()),
            ("sure", self._check_sure_discriminator()),
            ("modes", self._check_missing_modes()),
        ):
            if line and sign not in self.reported:
                self.reported.append(sign)
                lines.append(line)
        return lines

    def _process_pending(self) -> None:
        pending, self.pending = self.pending, []
        for values in pending:
            for name, value in values.items():
                self.recent.setdefault(name, deque(maxlen=WINDOW)).append(float(value))
                if name == "generator_gradient_norm":
                    self.max_gradient = max(self.max_gradient, float(value))
                elif name == "diversity":
                    self.diversity_count += 1
                    self.max_diversity = max(self.max_diversity, float(value))

    def _full_window(self, name: str) -> list[float]:
        """Return the last ten values; none while there are fewer."""
        values = self.recent.get(name, ())
        return list(values) if len(values) == WINDOW else []

    def _has_warmed_up(self) -> bool:
        """Return whether samples were different from each other, or had the time to become so."""
        return self.max_diversity >= DIVERSE_FROM or self.diversity_count >= WARM_UP

    def _check_collapsed(self) -> str | None:
        values = self._full_window("diversity")
        if not values or max(values) >= COLLAPSED_BELOW:
            return None
        if not self._has_warmed_up():
            return None
        how = "has collapsed" if self.max_diversity >= DIVERSE_FROM else "has collapsed from the beginning"
        return (
            f"the generator {how}: its samples are {values[-1]:.2g} times as far apart as data are; what helps, in "
            "this order: another optimizer.lr=…, procedure.gradient_penalty=1, procedure=wasserstein"
        )

    def _check_sure_discriminator(self) -> str | None:
        right, slope = self._full_window("discriminator_accuracy"), self._full_window("generator_gradient_norm")
        if not right or not slope or min(right) < SURE_FROM or max(slope) > FADED_BELOW * self.max_gradient:
            return None
        return (
            f"the discriminator is right {min(right):.1%} of the time, and the generator's gradient has faded to "
            f"{max(slope) / self.max_gradient:.1g} of its largest; what helps, in this order: "
            "procedure.loss=non_saturating (if it is minimax), procedure.gradient_penalty=1, "
            "procedure.label_smoothing=0.1, model.dropout=0.3 (gan), a smaller procedure.discriminator_lr=…"
        )

    def _check_missing_modes(self) -> str | None:
        modes = self.modes
        # Samples of fresh weights lie about the origin, where a grid has a mode.
        if not modes or not self._has_warmed_up() or modes["near"] < MIN_NEAR_MODES or modes["found"] > modes["of"] / 2:
            return None
        return (
            f"the generator has collapsed onto {modes['found']:.0f} of the data's {modes['of']:.0f} modes; what helps, "
            "in this order: procedure.gradient_penalty=1, another optimizer.lr=…, procedure=wasserstein"
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what was measured and reported: a resumed run says nothing twice."""
        self._process_pending()
        return {
            "seen": {name: list(values) for name, values in self.recent.items()},
            "measured": self.diversity_count,
            "widest": self.max_diversity,
            "largest": self.max_gradient,
            "modes": dict(self.modes),
            "told": list(self.reported),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.pending = []
        self.recent = {name: deque(values, maxlen=WINDOW) for name, values in state["seen"].items()}
        self.diversity_count, self.max_diversity = state["measured"], state["widest"]
        self.max_gradient = state["largest"]
        self.modes, self.reported = dict(state["modes"]), list(state["told"])
