"""`Dataset` in fit, evaluate and predict."""

import numpy as np
import pytest

from minicnn import Input, Sequential
from minicnn.callbacks import LambdaCallback
from minicnn.data import AUTOTUNE, Dataset
from minicnn.layers import Dense, Flatten
from minicnn.training.batches import make_batches
from minicnn.utils import set_random_seed

N = 23
X = np.linspace(0, 1, N * 4, dtype="float32").reshape(N, 2, 2, 1)
Y = (np.arange(N) % 3).astype("int64")


def model():
    set_random_seed(0)
    made = Sequential([Input((2, 2, 1)), Flatten(), Dense(3, activation="softmax")])
    made.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return made


def batches(**shuffling):
    dataset = Dataset.from_tensor_slices((X, Y))
    if shuffling:
        dataset = dataset.shuffle(N, **shuffling)
    return dataset.map(lambda x, y: (x / 2, y), AUTOTUNE).batch(5).prefetch(AUTOTUNE)


def test_the_same_as_arrays():
    on_arrays, on_dataset = model(), model()
    expected = on_arrays.fit(X / 2, Y, 5, 3, 0, shuffle=False, validation_data=(X / 2, Y))
    found = on_dataset.fit(batches(), epochs=3, verbose=0, validation_data=batches())
    assert found.history == expected.history
    np.testing.assert_array_equal(on_dataset.predict(batches(), verbose=0),
                                  on_arrays.predict(X / 2, 5, verbose=0))  # fmt: skip
    assert on_dataset.evaluate(batches(), verbose=0) == on_arrays.evaluate(X / 2, Y, 5, verbose=0)


def test_arrays_are_numpys_own():
    xs, y, _ = next(iter(make_batches(batches())))
    assert type(xs[0]) is type(y) is np.ndarray


def test_each_epoch_is_a_pass_with_an_order_of_its_own():
    dataset = batches(seed=1)
    firsts = []
    for _ in range(2):
        firsts += [np.asarray(x)[:, 0, 0, 0].tolist() for x, _ in dataset][:1]
    assert firsts[0] != firsts[1]
    fresh = batches(seed=1)
    model().fit(fresh, epochs=3, verbose=0)
    assert fresh.passes == 3


def test_steps_go_on_where_the_last_epoch_stopped():
    seen = []
    dataset = Dataset.from_tensor_slices((X, Y)).map(lambda x, y: seen.append(int(y)) or (x, y))
    model().fit(dataset.batch(5).repeat(), epochs=3, steps_per_epoch=2, verbose=0)
    assert seen == [*Y, *Y[:5]]  # the first round's last batch has 3


def test_predict_and_evaluate_begin_at_the_first_batch_after_a_pass_was_cut_short():
    trained, dataset = model(), batches()
    next(iter(dataset))
    whole = trained.predict(X / 2, verbose=0)
    np.testing.assert_array_equal(trained.predict(dataset, steps=2, verbose=0), whole[:10])
    np.testing.assert_array_equal(trained.predict(dataset, verbose=0), whole)


def test_an_infinite_data_set_needs_steps():
    for call in (model().fit, model().evaluate, model().predict):
        with pytest.raises(ValueError, match="infinite: say how many batches.*steps_per_epoch"):
            call(batches().repeat(), verbose=0)
    assert len(model().predict(batches().repeat(), steps=7, verbose=0)) == 23 + 5 * 2


def test_a_length_that_is_not_known():
    dataset = Dataset.from_generator(lambda: iter([(X[:5], Y[:5]), (X[5:], Y[5:])]))
    steps = []
    watch = LambdaCallback(on_train_batch_end=lambda step, logs: steps.append(step))
    model().fit(dataset, epochs=2, verbose=0, callbacks=watch, validation_data=dataset)
    assert steps == [0, 1, 0, 1]


def test_unbatched_images_are_told():
    with pytest.raises(ValueError, match="takes inputs of shape"):
        model().predict(Dataset.from_tensor_slices(X), verbose=0)
