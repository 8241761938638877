"""Charts of a trained model's answers: regions, curves, trees, clusters; one a file, each a class of `chart.Chart`.

This file does not import torch. A chart of one's own is named by its class: `--method mine.Chart`.
"""

CHARTS = {
    "regions": "dlx.charts.regions.Regions",
    "tree": "dlx.charts.trees.Tree",
    "importances": "dlx.charts.importances.Importances",
    "staged": "dlx.charts.staged.Staged",
    "fit": "dlx.charts.regression.Fit",
    "predictions": "dlx.charts.regression.Predictions",
    "residuals": "dlx.charts.regression.Residuals",
    "coefficients": "dlx.charts.coefficients.Coefficients",
    "paths": "dlx.charts.coefficients.Paths",
    "learning_curve": "dlx.charts.learning.LearningCurve",
    "roc": "dlx.charts.curves.RocCurve",
    "precision_recall": "dlx.charts.curves.PrecisionRecall",
    "calibration": "dlx.charts.curves.Calibration",
    "report": "dlx.charts.curves.Report",
    "clusters": "dlx.charts.clusters.Clusters",
    "silhouette": "dlx.charts.clusters.Silhouette",
    "elbow": "dlx.charts.clusters.Elbow",
    "kmeans_iterations": "dlx.charts.clusters.KMeansIterations",
}
