"""Regression: the fitted line or surface, predicted against true, residuals."""

from typing import Any, ClassVar

import numpy as np
import torch

from dlx.charts.chart import Chart
from dlx.charts.plane import make_plane
from dlx.charts.study import Examples, Study
from dlx.errors import UsageError
from dlx.figures.figures import make_colours

RESOLUTION = 120  # points of a surface's grid on each side
LINE = 400  # points of a line


class Fit(Chart):
    """The fitted line over one feature, or the surface over two, or over two principal components of more."""

    size: ClassVar[tuple[float, float]] = (7.4, 5.4)

    def check(self, study: Study) -> None:
        study.require_regressor("fit")

    def panel(self, study: Study, axes: Any) -> None:
        if torch.Size(study.dataset.shape or ()).numel() == 1:
            self._draw_line(study, axes)
        else:
            self._draw_surface(study, axes)

    def _draw_line(self, study: Study, axes: Any) -> None:
        train, shown = study.take("train"), _require_targets(study)
        everything = torch.cat([train.raw, shown.raw]).flatten().double()
        line = torch.linspace(float(everything.min()), float(everything.max()), LINE)
        values = study.predictions(study.see(line.to(train.raw.dtype).view(-1, *(study.dataset.shape or ()))))
        for k, colour in enumerate(make_colours(values.shape[1])):
            if train.y is not None:
                axes.scatter(train.raw.flatten(), train.y[:, k], s=8, color=colour, alpha=0.35, linewidths=0)
            assert shown.y is not None
            axes.scatter(shown.raw.flatten(), shown.y[:, k], s=26, color=colour, edgecolors="white", label=study.split)
            axes.plot(line, values[:, k], color="black", linewidth=1.6, label="fitted")
        axes.set_xlabel(study.feature_names[0])
        axes.set_ylabel("target, in the units of the data")
        axes.legend(frameon=False)

    def _draw_surface(self, study: Study, axes: Any) -> None:
        plane, shown = make_plane(study), _require_targets(study)
        assert shown.y is not None
        own = plane.project(shown.raw)
        places = np.concatenate([plane.project(study.take("train").raw), own])
        margin = 0.06 * np.ptp(places, axis=0)
        low, high = places.min(0) - margin, places.max(0) + margin
        across, up = (np.linspace(low[i], high[i], RESOLUTION) for i in range(2))
        grid = np.stack(np.meshgrid(across, up), -1).reshape(-1, 2)
        surface = study.predictions(plane.lift(grid))[:, 0].view(RESOLUTION, RESOLUTION).numpy()
        true = shown.y[:, 0].numpy()
        limits = {"vmin": min(surface.min(), true.min()), "vmax": max(surface.max(), true.max())}
        filled = axes.pcolormesh(across, up, surface, cmap="viridis", rasterized=True, **limits)
        if np.ptp(surface) > 0:
            axes.contour(across, up, surface, levels=10, colors="white", linewidths=0.5, alpha=0.6)
        axes.scatter(*own.T, c=true, cmap="viridis", edgecolors="white", linewidths=0.7, s=32, **limits)
        axes.figure.colorbar(filled, ax=axes, label="fitted (surface) and true (points), in the units of the data")
        axes.grid(False)
        axes.set_xlabel(plane.labels[0])
        axes.set_ylabel(plane.labels[1])


class Predictions(Chart):
    """Predicted against true: a perfect model's points lie on the diagonal."""

    size: ClassVar[tuple[float, float]] = (6.2, 5.6)
    kind: ClassVar[str] = "actual_vs_predicted"
    name: ClassVar[str] = "predictions"

    def check(self, study: Study) -> None:
        study.require_regressor(self.name)

    def panel(self, study: Study, axes: Any) -> None:
        from sklearn.metrics import PredictionErrorDisplay, r2_score, root_mean_squared_error

        examples = _require_targets(study)
        assert examples.y is not None
        true, predicted = examples.y.numpy(), study.predictions(examples.x).numpy()
        outputs = true.shape[1]
        for k, colour in enumerate(make_colours(outputs)):
            PredictionErrorDisplay(y_true=true[:, k], y_pred=predicted[:, k]).plot(
                ax=axes, kind=self.kind, line_kwargs={"alpha": 0.6},
                scatter_kwargs={"color": colour, "alpha": 0.7, "s": 20, "label": f"output {k}"},
            )  # fmt: skip
        axes.set_xlabel("predicted, in the units of the data")
        axes.set_ylabel(("true" if self.kind == "actual_vs_predicted" else "true - predicted") + ", in the same units")
        error = root_mean_squared_error(true, predicted)
        r2 = f", r² {r2_score(true, predicted):.3f}" if len(true) > 1 else ""
        axes.set_title(f"{axes.get_title()}\nRMSE {error:.4g}{r2} ({len(true)} examples)")
        if outputs > 1:
            axes.legend(frameon=False)


class Residuals(Predictions):
    """True minus predicted against predicted: where errors grow or bend, the model misses something."""

    kind: ClassVar[str] = "residual_vs_predicted"
    name: ClassVar[str] = "residuals"


def _require_targets(study: Study) -> Examples:
    examples = study.take()
    if examples.y is None:
        raise UsageError("the examples given have no targets; needed: those of a split; leave the INPUT out")
    return examples
