"""Name the packages whose classes a configuration may construct."""

# Classes under these names may be constructed. A run directory from a stranger is data: `torch.hub.load` or
# `os.system` in its config must not run because somebody evaluated it.
ALLOWED = ("dlx.", "torch.nn.", "torch.optim.", "torchvision.", "sklearn.")
