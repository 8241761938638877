"""Name the packages that optional features need, and the command that installs them.

The packages are named, not an extra of dlx's: another project owns the name `dlx` on PyPI.
"""

EXTRAS = {  # as pyproject.toml has them
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "midi": ("mido",),
    "safetensors": ("safetensors",),
    "joblib": ("hydra-joblib-launcher",),
    "submitit": ("hydra-submitit-launcher",),
    "ray": ("hydra-ray-launcher",),
    "bench": ("lightning", "keras"),
}


def install_command(extra: str) -> str:
    """Return the command that installs what an optional feature needs: `pip install onnx onnxscript onnxruntime`."""
    return f"pip install {' '.join(EXTRAS[extra])}"
