"""Random configurations of every layer against PyTorch in float64: output, gradient for the input
and all weight gradients.

    python tests/campaigns/layers_against_pytorch.py --configurations 2000 --seed 0 --json FILE

An error is the largest difference divided by the largest value of the right array. In float64 it
is at most 1e-9; where a gradient is a small difference of large numbers (a named reason, see
`Case.ill`) it is measured by these. In float32 it is compared with the largest of three: what
PyTorch makes of the same numbers in float32, what float64 makes of them after each has moved by
its own rounding, and float32's rounding. This is the error's unit; up to `FLOAT32_FACTOR` of them
are right. What is above 3e-4 is listed with PyTorch's own error. `--only 17` runs configuration 17
alone.
Exit status 1 for a wrong value, shape or dtype, a missing gradient, a changed input, an exception.
"""

import sys
import traceback
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from campaigns.layer_cases import LAYOUTS, draw
from campaigns.reporting import arguments, finish, small, table
from layer_calls import run

FLOAT64_TOLERANCE = 1e-9
FLOAT32_FACTOR = 64.0  # Winograd's transforms cost up to 32 times im2col's rounding
FLOAT32_FLOOR = 4 * float(np.finfo("float32").eps)
LOOKED_AT = 3e-4  # float32 errors above it are counted
COLUMNS = (
    "layer", "configurations", "float64 y", "float64 gradients", "float32 y",
    "float32 gradients", "float32 / its unit", f"above {LOOKED_AT}", "PyTorch's above",
)  # fmt: skip
ABOVE_COLUMNS = ("configuration", "layer", "x", "array", "error", "PyTorch's", "unit", "of what")


def in_torch(case, x, weights, dy, dtype):
    """{name: array} of what PyTorch computes: "y", "dx" and the weights' gradients."""
    learns = {name: not name.startswith("moving") for name in weights}
    tensors = {
        name: torch.tensor(np.ascontiguousarray(value, dtype), requires_grad=learns[name])
        for name, value in weights.items()
    }
    images = torch.tensor(np.ascontiguousarray(x, dtype), requires_grad=True)
    y = case.function(images, **tensors)
    if dy is None:
        return {"y": y.detach().numpy()}
    y.backward(torch.tensor(np.ascontiguousarray(dy, dtype)))
    found = {"y": y.detach(), "dx": images.grad}
    found |= {name: tensors[name].grad for name in weights if learns[name]}
    return {name: value.numpy() for name, value in found.items()}


def scale_of(name, right, case, weights, dy):
    """What an array's errors are divided by."""
    largest = max(float(np.abs(right).max(initial=0)), float(np.finfo("float32").tiny))
    if not case.ill:
        return largest
    terms = case.terms * float(np.abs(dy).max(initial=0))
    if name == "dx":
        return max(largest, terms * float(np.abs(weights.get("gamma", 1)).max()))
    if name == "gamma":  # its gradient is the sum of dy (x - mean) / deviation
        return max(largest, terms * float(np.abs(case.x).max()) * dy.size / right.size)
    return largest


def error_of(ours, right, scale):
    """The largest difference over `scale`; infinite where a number is not one."""
    difference = float(np.abs(ours.astype("float64") - right).max(initial=0))
    return difference / scale if np.isfinite(difference) else float("inf")


def ours_of(case, x, weights, dy, dtype):
    """{name: array} as `in_torch`, and what is wrong apart from values."""
    layer = case.make(dtype=dtype)
    layer.build_for((None, *x.shape[1:]))
    layer.set_weights([weights[w.name] for w in layer.weights])
    before = x.copy()
    out = run(layer, x, dy.copy(), training=case.training)
    wrong = [] if np.array_equal(before, x) else ["the input was changed"]
    missing = {w.name for w in layer.trainable_weights} ^ set(out.gradients)
    if missing:
        wrong.append(f"gradients missing or too many: {sorted(missing)}")
    return {"y": out.y, "dx": out.dx, **out.gradients}, wrong


def weights_for(case, rng):
    """Random weights by name; variances and gammas above 0."""
    layer = case.make(dtype="float64")
    layer.build_for((None, *case.x.shape[1:]))
    size = 10 ** rng.uniform(-1, 1) * case.weight_scale
    weights = {}
    for w in layer.weights:
        values = rng.standard_normal(w.shape)
        weights[w.name] = values * size if "kernel" in w.name else 0.1 + np.abs(values)
    return weights


def moved(array, rng):
    """Each number by up to half a rounding of float32."""
    return array * (1 + rng.uniform(-0.5, 0.5, array.shape) * np.finfo("float32").eps)


class Errors:
    """The worst of one layer's configurations."""

    def __init__(self):
        self.configurations = self.above = self.torch_above = 0
        self.worst = {"float64 y": 0.0, "float64 g": 0.0, "float32 y": 0.0, "float32 g": 0.0}
        self.ratio = 0.0
        self.looked_at = []

    def note(self, dtype, name, error):
        key = f"{dtype} {'y' if name == 'y' else 'g'}"
        self.worst[key] = max(self.worst[key], error)

    def row(self, layer):
        return [
            layer, self.configurations, *map(small, self.worst.values()), f"{self.ratio:.1f}",
            self.above, self.torch_above,
        ]  # fmt: skip


def check(case, rng, errors, report):
    """One configuration in both dtypes; `report` is called with each finding's text."""
    weights = weights_for(case, rng)
    shape = in_torch(case, case.x, weights, None, "float64")["y"].shape
    dy = rng.standard_normal(shape)
    layout = list(LAYOUTS)[rng.integers(len(LAYOUTS))]
    for dtype in ("float64",) if case.kink else ("float64", "float32"):
        x, slope = case.x.astype(dtype), dy.astype(dtype)
        rounded = {name: value.astype(dtype) for name, value in weights.items()}
        ours, wrong = ours_of(case, LAYOUTS[layout](x), rounded, slope, dtype)
        for text in wrong:
            report(f"{dtype}, {layout}: {text}")
        right = in_torch(case, x, rounded, slope, "float64")
        scales = {name: scale_of(name, a, case, weights, slope) for name, a in right.items()}
        units, rival_errors = {}, {}
        if dtype == "float32":
            rivals = in_torch(case, x, rounded, slope, "float32")
            shaken = in_torch(
                case, moved(x.astype("float64"), rng),
                {n: moved(w.astype("float64"), rng) for n, w in rounded.items()},
                moved(slope.astype("float64"), rng), "float64",
            )  # fmt: skip
            for name in right:
                rival = rival_errors[name] = error_of(rivals[name], right[name], scales[name])
                shake = error_of(shaken[name], right[name], scales[name])
                units[name] = max(rival, shake, FLOAT32_FLOOR)
                errors.torch_above += rival > LOOKED_AT
        for name, values in right.items():
            if name not in ours or ours[name] is None:
                continue  # reported above, or dx of a layer that has none
            if (ours[name].shape, str(ours[name].dtype)) != (values.shape, dtype):
                report(f"{dtype}, {layout}: {name} is {ours[name].dtype} {ours[name].shape}, "
                       f"not {dtype} {values.shape}")  # fmt: skip
                continue
            error = error_of(ours[name], values, scales[name])
            errors.note(dtype, name, error)
            bound = FLOAT64_TOLERANCE
            if dtype == "float32":
                bound = FLOAT32_FACTOR * units[name]
                errors.ratio = max(errors.ratio, error / units[name])
                if error > LOOKED_AT:
                    errors.above += 1
                    errors.looked_at.append((name, error, rival_errors[name], units[name]))
            if not error <= bound:
                report(f"{dtype}, {layout}: error {error:.1e} of {name}, allowed {bound:.1e}")
        if ours["dx"] is None:
            report(f"{dtype}, {layout}: no gradient for x")


def campaign(configurations, seed=0, only=None):
    """(rows of the table, findings, float32 errors above `LOOKED_AT`) of so many configurations, or
    of the one numbered `only`."""
    rows, findings, above = {}, [], []
    for index in range(configurations) if only is None else (only,):
        case, rng = draw(index, seed)
        errors = rows.setdefault(case.row, Errors())
        errors.configurations += 1

        def report(text, index=index, case=case):
            findings.append({
                "configuration": index, "layer": case.row, "arguments": case.text,
                "x": case.x.shape, "ill-conditioned": case.ill or "no", "finding": text,
            })  # fmt: skip

        try:
            check(case, rng, errors, report)
        except Exception:
            report(traceback.format_exc().strip().splitlines()[-1])
        while errors.looked_at:
            name, error, rival, unit = errors.looked_at.pop()
            above.append([
                index, case.row, case.x.shape, name, small(error), small(rival), small(unit),
                case.ill or case.text,
            ])  # fmt: skip
    return [errors.row(name) for name, errors in sorted(rows.items())], findings, above


def main():
    options = arguments(__doc__, configurations=2000, seed=0, only=-1)
    only = None if options.only < 0 else options.only
    rows, findings, above = campaign(options.configurations, options.seed, only)
    status = finish(
        COLUMNS, rows, findings, options.json, ["torch"], seed=options.seed, above=above
    )  # fmt: skip
    print(f"\nfloat32 errors above {LOOKED_AT}:\n\n{table(ABOVE_COLUMNS, above)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
