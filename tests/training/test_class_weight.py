"""Weights of classes: the keys are classes and the values numbers, or an error says so."""

import numpy as np
import pytest
from small_problem import X, Y, network

from minicnn.training.class_weight import class_weights, weighed

FORMS = {"labels": Y, "column": Y[:, None], "one-hot": np.eye(3)[Y]}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "class_weight, message",
    [
        ({"0": 5.0}, "class_weight has the key '0' of type str; its keys are class numbers"),
        ({None: 5.0}, "class_weight has the key None of type NoneType"),
        ({0.5: 5.0}, "class_weight has the key 0.5 of type float"),
        ({-1: 5.0}, "class_weight has the key -1; its keys are class numbers, from 0 to 2"),
        ({0: 1.0, 3: 5.0}, "class_weight has the key 3; .* from 0 to 2, since there are 3 classes"),
        ({0: np.nan}, "class_weight of class 0 must be a finite number, not nan"),
        ({2: np.inf}, "class_weight of class 2 must be a finite number, not inf"),
        ({0: 1e39}, "class_weight of class 0 must be a finite number, not 1e\\+39"),
        ({0: "1"}, "class_weight of class 0 must be a finite number, not '1'"),
        ({0: None}, "class_weight of class 0 must be a finite number, not None"),
    ],
)
def test_what_is_refused(form, class_weight, message):
    with pytest.raises(ValueError, match=message):
        class_weights(FORMS[form], class_weight, classes=3)


@pytest.mark.parametrize("class_weight", [{0: np.nan}, {1: np.inf}, {"0": 5.0}, {-1: 2.0}])
def test_fit_refuses_it_too(class_weight):
    model = network()
    before = model.get_weights()
    for data in ((X, Y), (_Anew(), None)):
        with pytest.raises(ValueError, match="class_weight"):
            model.fit(*data, class_weight=class_weight, verbose=0)
    with pytest.raises(ValueError, match="class_weight"):
        model.train_on_batch(X, Y, class_weight=class_weight)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


class _Anew:
    def __iter__(self):
        return iter([(X, Y)])


def test_products_that_are_too_large():
    with pytest.raises(ValueError, match="entry 1 of sample_weight times class_weight holds NaN"):
        weighed(np.array([0, 1]), np.full(2, 1e20), {1: 1e20}, "float32")


def test_keys_of_numpy_and_classes_without_images():
    weights = class_weights(np.array([0, 1]), {np.int64(1): np.float32(2), 2.0: 5}, classes=3)
    assert weights.tolist() == [1, 2]


def test_targets_of_many_positions():
    with pytest.raises(ValueError, match=r"targets of shape \(2, 3, 3\): pass sample_weight"):
        class_weights(np.zeros((2, 3, 3), int), {0: 2.0})
