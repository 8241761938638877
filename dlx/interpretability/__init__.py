"""Interpret a network: one method a file, each a pure function of a model and tensors; `draw` makes their pictures.

This file does not import torch.
"""

METHODS = ("filters", "activations", "deconvnet", "saliency", "grad_cam", "occlusion", "maximization")
