"""A decision tree, drawn and as rules; of an ensemble its first tree."""

import copy
from typing import Any

import numpy as np

from dlx.charts.chart import Chart, Drawing
from dlx.charts.study import Study
from dlx.errors import UsageError

MAX_DEPTH = 4  # levels of the tree that are drawn; the rules are whole
LEAF_WIDTH, LEVEL_HEIGHT = 1.9, 1.35  # inches


class Tree(Chart):
    """The tree with its thresholds in the units of the data, and its rules as text."""

    def check(self, study: Study) -> None:
        if _find_trees(study.estimator) is None:
            raise UsageError(
                "tree needs trees of scikit-learn's, such as decision_tree or random_forest (histogram boosting has "
                f"others); {type(study.estimator or study.model).__name__} was given; "
                "try dlx train model=decision_tree dataset=iris"
            )

    def draw(self, study: Study, name: str) -> Drawing:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from sklearn.tree import export_text, plot_tree

        from dlx.figures.axes import make_axes
        from dlx.figures.figures import render_figure

        trees, features = _find_trees(study.estimator) or ([], [None])
        names = study.feature_names
        if features[0] is not None:  # bagging may give each tree some of the features only
            names = [names[i] for i in features[0]]
        tree = to_data_units(trees[0], study, features[0])
        classes = study.class_names if study.dataset.classes else None
        if classes is not None:
            classes = [classes[int(label)] for label in study.estimator.classes_]
        depth = min(tree.get_depth(), MAX_DEPTH)
        leaves = _count_leaves(tree.tree_, MAX_DEPTH)
        which = "" if len(trees) == 1 else f", tree 1 of {len(trees)}"
        more = f", the first {depth} of {tree.get_depth()} levels" if tree.get_depth() > depth else ""
        size = (min(max(6.0, LEAF_WIDTH * leaves), 26.0), max(3.0, LEVEL_HEIGHT * (depth + 1.5)))
        figure, axes = make_axes(size, f"{study.title.rpartition(' · ')[0]} · train{which}{more}")
        axes.grid(False)
        axes.set_axis_off()
        FigureCanvasAgg(figure)  # plot_tree measures its texts
        plot_tree(
            tree, max_depth=MAX_DEPTH, feature_names=names, class_names=classes, filled=True, rounded=True,
            impurity=True, proportion=False, precision=3, fontsize=8, ax=axes,
        )  # fmt: skip
        can_name = classes is not None and hasattr(tree, "predict_proba")  # a booster's trees predict numbers
        rules = export_text(
            tree, feature_names=names, class_names=classes if can_name else None, decimals=3, show_weights=can_name,
            max_depth=max(tree.get_depth(), 1),
        )  # fmt: skip
        return Drawing({name: render_figure(figure)}, texts={f"{name}_rules": rules})


def _find_trees(estimator: Any) -> tuple[list[Any], list[Any]] | None:
    """Return an estimator's trees and the features that each sees (None for all); None where it has no trees."""
    if hasattr(estimator, "tree_"):
        return [estimator], [None]
    parts = getattr(estimator, "estimators_", None)
    if parts is None or not len(parts):
        return None
    trees = list(np.ravel(np.array(parts, dtype=object)))
    if not all(hasattr(tree, "tree_") for tree in trees):
        return None
    return trees, list(getattr(estimator, "estimators_features_", [None] * len(trees)))


def to_data_units(tree: Any, study: Study, features: Any = None) -> Any:
    """Return a copy of a tree whose thresholds, and values of a regression, are in the units of the data."""
    tree = copy.deepcopy(tree)
    offset, factor = study.data_units()
    if features is not None:
        offset, factor = offset[features], factor[features]
    inner, split = tree.tree_, tree.tree_.feature >= 0
    inner.threshold[split] = offset[inner.feature[split]] + factor[inner.feature[split]] * inner.threshold[split]
    mean, std = study.dataset.target_mean, study.dataset.target_std
    if study.dataset.classes is None and mean is not None and std is not None:
        inner.value[:] = inner.value * std.double().numpy()[None, :, None] + mean.double().numpy()[None, :, None]
        if len(std) == 1:  # the error of one target goes with its square
            inner.impurity[:] = inner.impurity * float(std) ** 2
    return tree


def _count_leaves(tree: Any, depth: int, node: int = 0) -> int:
    left, right = tree.children_left[node], tree.children_right[node]
    if left < 0 or depth == 0:
        return 1
    return _count_leaves(tree, depth - 1, left) + _count_leaves(tree, depth - 1, right)
