"""Every registered loss against Keras's on its torch backend: values, gradients, configurations."""

import inspect
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

os.environ.setdefault("KERAS_BACKEND", "torch")
torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")

from loss_cases import (  # noqa: E402
    ALONG_AN_AXIS,
    ARGUMENTS,
    CASES,
    CLASSES,
    OF_CLASSES,
    OF_LABELS,
    data,
)

from minicnn import gradcheck, losses  # noqa: E402
from minicnn.losses import LOSSES  # noqa: E402

pytestmark = pytest.mark.parity

REDUCTIONS = ["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight"]
FUNCTIONS = sorted(n for n in losses.__all__ if inspect.isfunction(getattr(losses, n)))
FUNCTIONS = [n for n in FUNCTIONS if n not in ("get", "serialize", "deserialize")]


def compare(name, arguments, shape, seed=0, dtype="float64", weighted=False, **others):
    """Our value and gradient and Keras's, which calculates in the same dtype."""
    rng = np.random.default_rng(seed)
    y_true, y_pred = data(name, arguments, rng, shape, dtype)
    weights = rng.uniform(0.1, 2, size=shape[0]).astype(dtype) if weighted else None
    loss = CLASSES[name](**arguments, **others)
    loss.check_targets(y_true, y_pred.shape)
    value, state = loss.forward(y_true, y_pred, weights)
    gradient = loss.backward(state)
    assert gradient.dtype == value.dtype == dtype and gradient.shape == y_pred.shape
    predictions = torch.tensor(y_pred, requires_grad=True)
    theirs = getattr(keras.losses, name)(**arguments, **others, dtype=dtype)
    expected = theirs(
        torch.tensor(y_true), predictions, None if weights is None else torch.tensor(weights)
    )
    limit = {"float64": 2e-6, "float32": 2e-4}[dtype]  # Keras rounds some steps to float32 itself
    np.testing.assert_allclose(value, expected.item(), rtol=limit, atol=limit)
    try:
        expected.backward()
    except RuntimeError as error:  # PyTorch's, of sparse targets with several axes
        assert "grad_input must be contiguous" in str(error)
        assert gradcheck(loss, y_pred, y_true).max_error < 1e-6
    else:
        np.testing.assert_allclose(gradient, predictions.grad.numpy(), rtol=limit, atol=limit)


@pytest.mark.parametrize(("name", "arguments"), CASES)
@given(seed=st.integers(0, 2**16), n=st.integers(1, 6), classes=st.integers(2, 5))
@settings(max_examples=8, deadline=None)
def test_values_and_gradients(name, arguments, seed, n, classes):
    compare(name, arguments, (n, classes), seed)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_reductions_and_weights(name, arguments, reduction, weighted):
    compare(name, arguments, (7, 4), weighted=weighted, reduction=reduction)


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_float32(name, arguments):
    compare(name, arguments, (6, 4), dtype="float32")


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_one_class_per_pixel(name, arguments):
    if name != "CategoricalGeneralizedCrossEntropy":  # Keras makes (N, W, W, H) of it
        compare(name, arguments, (3, 2, 5, 4))


@pytest.mark.parametrize("name", sorted(ALONG_AN_AXIS))
@pytest.mark.parametrize("more", [0, 1])
def test_along_another_axis(name, more):
    arguments = {**ARGUMENTS.get(name, [{}, {}])[more], "axis": 1}
    if name.startswith("Categorical"):
        arguments.pop("label_smoothing", None)  # Keras divides by the size of the last axis
    compare(name, arguments, (3, 4, 2, 5))


@pytest.mark.parametrize("name", sorted(set(CLASSES) - OF_CLASSES))
@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3)])
def test_shapes_of_targets(name, shape):
    """Without the batch's axis, and targets with and without a last axis of 1."""
    rng = np.random.default_rng(1)
    y_true, y_pred = data(name, {}, rng, shape)
    forms = [y_true] if shape[-1] != 1 else [y_true, y_true[:, 0]]
    for y in forms:
        theirs = getattr(keras.losses, name)(dtype="float64")(y, torch.tensor(y_pred))
        ours = CLASSES[name]()(y, y_pred)
        np.testing.assert_allclose(ours, theirs.item(), rtol=1e-6)


@pytest.mark.parametrize("name", sorted(OF_LABELS))
def test_labels_in_a_column(name):
    rng = np.random.default_rng(0)
    labels, p = data(name, {}, rng, (5, 3))
    loss = CLASSES[name]()
    assert loss(labels[:, None], p) == loss(labels, p)


def test_hinge_of_zeros_and_ones():
    y, p = np.array([[0, 1.0], [1, 1]]), np.array([[0.3, 0.2], [-2, 3]])
    for name in ("Hinge", "SquaredHinge"):
        theirs = getattr(keras.losses, name)(dtype="float64")(y, torch.tensor(p))
        np.testing.assert_allclose(CLASSES[name]()(y, p), theirs.item())


@pytest.mark.parametrize("name", [n for n in CLASSES if "Crossentropy" in n or n == "KLDivergence"])
def test_clipped_probabilities(name):
    """Beyond the limits: the same values, and no gradient."""
    p = np.array([[0.0, 1.0, 0.0], [0.2, 0.5, 0.3]])
    y = np.array([0, 1]) if name in OF_LABELS else np.eye(3)[[0, 1]]
    predictions = torch.tensor(p, requires_grad=True)
    theirs = getattr(keras.losses, name)(dtype="float64")(y, predictions)
    theirs.backward()
    value, state = CLASSES[name]().forward(y, p)
    np.testing.assert_allclose(value, theirs.item(), rtol=1e-6)
    np.testing.assert_allclose(CLASSES[name]().backward(state), predictions.grad, atol=1e-9)


@pytest.mark.parametrize("reduction", [None, "none"])
@pytest.mark.parametrize("weights", [None, [1.0, 2, 0], [[1.0], [2], [0]]])
def test_no_reduction(reduction, weights):
    p, t = np.random.default_rng(0).normal(size=(2, 3, 4))
    weights = None if weights is None else np.array(weights)
    theirs = keras.losses.MeanSquaredError(reduction=reduction, dtype="float64")(t, p, weights)
    ours = losses.MeanSquaredError(reduction=reduction)(t, p, weights)
    np.testing.assert_allclose(ours, theirs.numpy().ravel())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    legacy = {"MSE", "MAE", "MAPE", "MSLE", "KLD", "BCE", "logcosh", "kullback_leibler_divergence"}
    ours = getattr(losses, name)
    theirs = getattr(keras.losses, ours.__name__)
    assert name in legacy or name.upper() in legacy or ours.__name__ == name
    parameters = list(inspect.signature(ours).parameters.values())
    takes = inspect.signature(theirs).parameters
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == list(takes)
    cls = LOSSES.find(name).__name__
    for arguments in ARGUMENTS.get(cls, [{}]):
        if cls == "CategoricalGeneralizedCrossEntropy":
            arguments = {"q": 0.5, **arguments}
        y_true, y_pred = data(cls, arguments, np.random.default_rng(2), (5, 3))
        expected = theirs(torch.tensor(y_true), torch.tensor(y_pred), **arguments)
        np.testing.assert_allclose(ours(y_true, y_pred, **arguments), expected, rtol=1e-6)
    assert all(takes[p.name].default == p.default for p in parameters[2:] if p.name != "q"
               and p.kind is p.POSITIONAL_OR_KEYWORD)  # fmt: skip


@pytest.mark.parametrize("name", list(CLASSES))
def test_constructors(name):
    """The same arguments in the same order with the same defaults, and the same name."""
    ours = inspect.signature(CLASSES[name]).parameters
    theirs = inspect.signature(getattr(keras.losses, name)).parameters
    own = [n for n, p in ours.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert own == list(theirs)
    defaults = {n: p.default for n, p in theirs.items() if n != "name"}
    assert {n: ours[n].default for n in defaults} == defaults
    assert CLASSES[name]().name == getattr(keras.losses, name)().name


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_configurations_both_ways(name, arguments):
    arguments = {**arguments, "reduction": "sum", "name": "mine"}
    ours, theirs = CLASSES[name](**arguments), getattr(keras.losses, name)(**arguments)
    written, expected = losses.serialize(ours), keras.losses.serialize(theirs)
    assert written["class_name"] == expected["class_name"]
    extra = {"label_smoothing", "axis", "delta"}  # which Keras takes, but does not write
    assert written["config"] == expected["config"] | {
        k: v for k, v in written["config"].items() if k in extra and k not in expected["config"]
    }
    twin = losses.deserialize(expected)
    assert type(twin) is type(ours)
    kept = {k: v for k, v in ours.get_config().items() if k in expected["config"]}
    assert {k: v for k, v in twin.get_config().items() if k in kept} == kept
    config = {
        k: v
        for k, v in ours.get_config().items()
        if k in inspect.signature(type(theirs)).parameters
    }
    again = type(theirs).from_config(config)
    y_true, y_pred = data(name, arguments, np.random.default_rng(0), (4, 3), "float32")
    np.testing.assert_allclose(
        again(y_true, y_pred).numpy(), theirs(y_true, y_pred).numpy(), rtol=1e-6
    )


def test_every_name_of_keras():
    """By class, function and alias, apart from what is left out on purpose."""
    module = keras.src.losses
    for name in module.ALL_OBJECTS_DICT:
        if name.lower() in ("loss", "lossfunctionwrapper"):
            continue
        if name.lower() in ("dice", "tversky", "circle", "ctc"):
            with pytest.raises(ValueError, match="leaves out .*: it (is for|compares)"):
                losses.get(name)
            with pytest.raises(ImportError, match="leaves out"):
                exec(f"from minicnn.losses import {name}")
            assert not hasattr(losses, name)
            continue
        expected = module.ALL_OBJECTS_DICT[name]
        cls = type(losses.get(name)).__name__
        assert cls == expected.__name__ or LOSSES.find(expected.__name__).__name__ == cls
        assert hasattr(losses, expected.__name__)
    public = [n for n in dir(keras.losses) if n[0] != "_" and n.lower() not in
              ("dice", "tversky", "circle", "ctc")]  # fmt: skip
    assert [n for n in public if not hasattr(losses, n)] == []
