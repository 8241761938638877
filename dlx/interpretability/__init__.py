"""What a network sees: one method a file, each a pure function of a model and tensors; `draw` makes pictures of them.

Nothing here imports torch until a method is asked for.
"""

METHODS = ("filters", "activations", "deconvnet", "saliency", "grad_cam", "occlusion", "maximization")
