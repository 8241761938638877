"""Convolution arithmetic: sizes, windows, parameters and multiply-adds of one layer, as numbers and drawn. No torch.

V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning", 2016, https://arxiv.org/abs/1603.07285
"""

import math
from typing import Any, Literal, NamedTuple

from dlx.errors import UsageError

Kind = Literal["conv", "depthwise", "separable", "transposed", "max_pool", "avg_pool"]
KINDS: tuple[Kind, ...] = ("conv", "depthwise", "separable", "transposed", "max_pool", "avg_pool")
MAX_WINDOWS = 4  # that the figure colours
COLOURS = ("C0", "C1", "C2", "C3")


class Arithmetic(NamedTuple):
    """One layer on a square input, along either axis."""

    kind: Kind
    size: int  # of the input
    kernel: int
    stride: int
    dilation: int
    before: int  # zeros before the first input; for transposed ones, outputs that are cut off there
    after: int  # and after the last; where negative, outputs that are added (torch's output_padding)
    output: int
    inputs: int  # channels
    outputs: int
    parameters: int
    macs: int  # of one example; 0 for pooling, which multiplies nothing

    @property
    def extent(self) -> int:
        """Inputs from a window's first to its last, gaps of the dilation included."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def windows(self) -> list[list[int]]:
        """The inputs of each output along one axis; below 0 and from `size` on they are zeros of the padding."""
        taps = range(self.kernel)
        if self.kind != "transposed":
            return [
                [i * self.stride + t * self.dilation - self.before for t in taps] for i in range(self.output)
            ]  # fmt: skip
        reach: list[list[int]] = [[] for _ in range(self.output)]
        for i in range(self.size):
            for t in taps:
                place = i * self.stride + t * self.dilation - self.before
                if 0 <= place < self.output:
                    reach[place].append(i)
        return reach


def compute(
    kind: Kind,
    size: int,
    kernel: int,
    stride: int = 1,
    padding: str = "valid",
    dilation: int = 1,
    inputs: int = 1,
    outputs: int = 1,
) -> Arithmetic:
    """Return the arithmetic of a layer with a bias.

    Args:
        kind: of `KINDS`; `separable` is a depthwise convolution and, with the bias, one of 1×1 after it (Keras's).
        size: of the input, square.
        kernel, stride, dilation: along each axis.
        padding: `valid` (none), `same` as Keras has it (the output is ⌈size / stride⌉, of a transposed one size ·
            stride; an odd zero goes to the end), or zeros on each side.
        inputs, outputs: channels; pooling and depthwise convolution keep the inputs' number.

    Raises:
        UsageError: the kernel is larger than the padded input, or the padding is none of these.
    """
    extent = dilation * (kernel - 1) + 1
    if padding not in ("same", "valid") and not padding.isdecimal():
        raise UsageError(
            f"--padding {padding} was given; needed: same, valid, or a number of zeros; type --padding same"
        )
    each = int(padding) if padding.isdecimal() else 0
    if kind == "transposed":
        full = (size - 1) * stride + extent
        cut = full - size * stride if padding == "same" else 2 * each
        before = max(cut, 0) // 2
        after, output = cut - before, full - cut
    else:
        total = max((math.ceil(size / stride) - 1) * stride + extent - size, 0) if padding == "same" else 2 * each
        before = total // 2
        after, output = total - before, (size + total - extent) // stride + 1
    if output < 1 or (kind != "transposed" and size + before + after < extent):
        raise UsageError(
            f"--size {size} with --padding {padding} was given, which a window of {extent} does not fit; needed: a "
            "larger size, a smaller kernel or dilation; type --padding same"
        )
    if kind in ("max_pool", "avg_pool", "depthwise"):
        outputs = inputs
    taps, positions = kernel**2, output**2
    parameters, macs = {
        "conv": (taps * inputs * outputs + outputs, positions * taps * inputs * outputs),
        "depthwise": (taps * inputs + inputs, positions * taps * inputs),
        "separable": (taps * inputs + inputs * outputs + outputs, positions * (taps * inputs + inputs * outputs)),
        "transposed": (taps * inputs * outputs + outputs, size**2 * taps * inputs * outputs),
    }.get(kind, (0, 0))
    return Arithmetic(
        kind, size, kernel, stride, dilation, before, after, output, inputs, outputs, parameters, macs
    )  # fmt: skip


def describe(one: Arithmetic) -> list[str]:
    """Return lines that show the formula with its numbers, and the inputs of each output along one axis."""
    n, k, s, d, p = one.size, one.kernel, one.stride, one.dilation, one.before + one.after
    if one.kind == "transposed":
        formula = f"(size - 1) · stride + dilation · (kernel - 1) + 1 - cut = {n - 1}·{s} + {d}·{k - 1} + 1 - {p}"
    else:
        formula = (
            f"⌊(size + padding - dilation · (kernel - 1) - 1) / stride⌋ + 1 = ⌊({n} + {p} - {d}·{k - 1} - 1) / {s}⌋ + 1"
        )
    lines = [f"output = {formula} = {one.output}"]
    name = "cut off" if one.kind == "transposed" else "padding"
    lines.append(f"{name}: {one.before} before, {one.after} after" + (" (negative: added)" if one.after < 0 else ""))
    lines.append(f"{one.inputs}×{n}×{n} → {one.outputs}×{one.output}×{one.output}")
    lines.append(_explain_counts(one))
    lines.append("")
    if one.kind == "transposed":
        lines.append("the inputs that each output sums, along one axis:")
        lines += [f"  output {i}: {', '.join(map(str, window)) or 'none'}" for i, window in enumerate(one.windows)]
        return lines
    low, high = -one.before, n + one.after
    lines.append("the window of each output along one axis (· is padding, x an input that it sees):")
    width = len(str(n - 1)) + 1
    names = "".join((str(i) if 0 <= i < n else "·").rjust(width) for i in range(low, high))
    lines.append("  " + "input".ljust(len(f"output {one.output - 1}")) + names)
    for i, window in enumerate(one.windows):
        marks = "".join(
            ("" if j not in window else "x" if 0 <= j < n else "·").rjust(width) for j in range(low, high)
        )  # fmt: skip
        lines.append(f"  output {i}".ljust(2 + len(f"output {one.output - 1}")) + marks.rstrip())
    unseen = sorted(set(range(n)) - {j for window in one.windows for j in window})
    if unseen:
        lines.append(f"never seen: input {', '.join(map(str, unseen))}")
    return lines


def _explain_counts(one: Arithmetic) -> str:
    k, o, i, j = one.kernel, one.output, one.inputs, one.outputs
    where = f"{one.size}²" if one.kind == "transposed" else f"{o}²"
    parameters, macs = {
        "conv": (f"{k}²·{i}·{j} + {j}", f"{where}·{k}²·{i}·{j}"),
        "transposed": (f"{k}²·{i}·{j} + {j}", f"{where}·{k}²·{i}·{j}"),
        "depthwise": (f"{k}²·{i} + {i}", f"{where}·{k}²·{i}"),
        "separable": (f"{k}²·{i} + {i}·{j} + {j}", f"{where}·({k}²·{i} + {i}·{j})"),
    }.get(one.kind, ("", ""))
    if not parameters:
        return "parameters 0, multiply-adds 0: pooling compares or adds, and learns nothing"
    return f"parameters {parameters} = {one.parameters:,}; multiply-adds {macs} = {one.macs:,}"


def draw(one: Arithmetic) -> Any:
    """Return a matplotlib figure: the input with its padding and the first windows, and the output beside it."""
    from matplotlib.patches import Rectangle

    from dlx.figures.axes import make_panels

    title = f"{one.kind}: kernel {one.kernel}, stride {one.stride}, dilation {one.dilation}"
    figure, (left, right) = make_panels(1, 2, (4.6, 4.9), f"{title}\n{_explain_counts(one)}")
    n, m = one.size, one.output
    before, after = (0, 0) if one.kind == "transposed" else (one.before, one.after)
    for axes, size, first, last in ((left, n, before, after), (right, m, 0, 0)):
        for row in range(-first, size + last):
            for column in range(-first, size + last):
                inside = 0 <= row < size and 0 <= column < size
                style: dict[str, Any] = {"facecolor": "white" if inside else "0.92", "edgecolor": "0.6"}
                axes.add_patch(Rectangle((column, row), 1, 1, linestyle="-" if inside else ":", **style))
                if not inside and first + last + size <= 16:
                    axes.text(column + 0.5, row + 0.5, "0", ha="center", va="center", color="0.6", fontsize=8)
        axes.set_xlim(-first - 0.3, size + last + 0.3)
        axes.set_ylim(size + last + 0.3, -first - 0.3)
        axes.set_aspect("equal")
        axes.set_axis_off()
    for k in range(min(MAX_WINDOWS, m)):  # along the first row that lies wholly within, if there is one
        place = (0, k)
        rows, columns = (one.windows[i] for i in place)
        for row in rows:
            for column in columns:
                left.add_patch(
                    Rectangle((column + 0.08 * k, row + 0.08 * k), 0.7, 0.7, facecolor=COLOURS[k], alpha=0.45)
                )
        right.add_patch(Rectangle((place[1], place[0]), 1, 1, facecolor=COLOURS[k], alpha=0.6, edgecolor="0.3"))
    padding = f", padding {before} before and {after} after" if before or after else ""
    left.set_title(f"input {one.inputs}×{n}×{n}{padding}", fontsize=10)
    right.set_title(f"output {one.outputs}×{m}×{m}", fontsize=10)
    return figure
