"""The classification table is scikit-learn's."""

import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from minicnn.report import classification_report, classification_scores, confusion_matrix

NAMES = "airplane automobile bird cat deer dog frog horse ship truck".split()


def test_by_hand():
    y_true, y_pred = [0, 0, 1, 1, 1], [0, 1, 1, 1, 0]
    np.testing.assert_array_equal(confusion_matrix(y_true, y_pred), [[1, 1], [1, 2]])
    scores = classification_scores(y_true, y_pred, ["no", "yes"])
    assert scores["no"] == {"precision": 0.5, "recall": 0.5, "f1-score": 0.5, "support": 2}
    assert scores["yes"]["recall"] == pytest.approx(2 / 3)
    assert scores["accuracy"] == pytest.approx(0.6)
    assert scores["macro avg"]["recall"] == pytest.approx((0.5 + 2 / 3) / 2)
    assert scores["weighted avg"]["support"] == 5


@st.composite
def labels(draw):
    classes = draw(st.integers(1, 6))
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    return classes, rng.integers(classes, size=n), rng.integers(classes, size=n)


@given(labels(), st.integers(1, 6))
@settings(deadline=None, max_examples=60)
@pytest.mark.filterwarnings("ignore:A single label was found")
@pytest.mark.parity
def test_text_and_scores_equal_scikit_learn(case, digits):
    sklearn = pytest.importorskip("sklearn.metrics")
    classes, y_true, y_pred = case
    assume((y_true == y_pred).any())  # without one hit scikit-learn prints the support as "1.0"
    every = range(classes)
    expected = sklearn.classification_report(
        y_true, y_pred, labels=every, target_names=NAMES[:classes], digits=digits, zero_division=0
    )
    assert classification_report(y_true, y_pred, NAMES[:classes], digits) == expected
    expected = sklearn.classification_report(y_true, y_pred, digits=digits, zero_division=0)
    assert classification_report(y_true, y_pred, digits=digits) == expected

    matrix = confusion_matrix(y_true, y_pred, classes)
    np.testing.assert_array_equal(matrix, sklearn.confusion_matrix(y_true, y_pred, labels=every))

    expected = sklearn.classification_report(
        y_true, y_pred, labels=every, target_names=NAMES[:classes], output_dict=True,
        zero_division=0,
    )  # fmt: skip
    scores = classification_scores(y_true, y_pred, NAMES[:classes])
    assert scores.keys() == expected.keys()
    for name, row in expected.items():
        assert scores[name] == pytest.approx(row)


@pytest.mark.parity
def test_long_names_widen_the_first_column():
    sklearn = pytest.importorskip("sklearn.metrics")
    y_true, y_pred = [0, 1, 1], [0, 1, 0]
    names = ["a", "a rather long class name"]
    expected = sklearn.classification_report(y_true, y_pred, target_names=names, digits=4)
    assert classification_report(y_true, y_pred, names) == expected


def test_scores_go_into_json():
    scores = classification_scores(np.array([0, 2]), np.array([2, 2]), num_classes=3)
    assert json.loads(json.dumps(scores)) == scores
    assert scores["1"] == {"precision": 0.0, "recall": 0.0, "f1-score": 0.0, "support": 0}


def test_columns_one_hot_and_probabilities():
    y_true = np.array([0, 1, 2, 1])
    probabilities = np.eye(3)[[0, 1, 1, 1]]
    expected = confusion_matrix(y_true, [0, 1, 1, 1])
    for form in (y_true[:, None], np.eye(3)[y_true], y_true.astype(np.uint8)):
        np.testing.assert_array_equal(confusion_matrix(form, probabilities), expected)


@pytest.mark.parametrize(
    ("y_true", "y_pred", "classes", "text"),
    [
        ([0, 1], [0], None, "y_true has 2 labels and y_pred 1"),
        ([], [], None, "there are no labels"),
        ([0, 5], [0, 1], 3, "labels from 0 to 5 were given; 3 classes are numbered 0 to 2"),
        ([0, -1], [0, 1], None, "labels from -1 to 1"),
        ([0.5, 1], [0, 1], None, "y_true holds whole numbers"),
        (np.zeros((2, 2, 2)), [0, 1], None, r"got shape \(2, 2, 2\)"),
    ],
)
def test_errors(y_true, y_pred, classes, text):
    with pytest.raises(ValueError, match=text):
        confusion_matrix(y_true, y_pred, classes)


def test_names_and_number_disagree():
    with pytest.raises(ValueError, match="2 names were given for 3 classes"):
        classification_scores([0], [0], ["a", "b"], num_classes=3)
