"""Batches by number: rows belong to their images wherever an iterator stands; what `steps` do."""

import threading
import time
import warnings

import numpy as np
import pytest

from minicnn import Input, Sequential
from minicnn.layers import Activation, Flatten
from minicnn.optimizers import SGD
from minicnn.preprocessing.image import ImageDataGenerator, save_img
from minicnn.training.batches import make_batches, validation_batches
from minicnn.utils import PyDataset

N, BATCH = 10, 4
X = np.arange(N, dtype="float32").reshape(N, 1, 1, 1) * np.ones((1, 2, 2, 1), "float32")
Y = X[:, 0, 0]


class Numbered(PyDataset):
    """Batches by number, of `X`; remembers which were asked for."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.asked = []
        self.ends = 0

    def __len__(self):
        return -(-N // BATCH)

    def __getitem__(self, index):
        self.asked.append(index)
        return X[index * BATCH :][:BATCH], np.repeat(Y[index * BATCH :][:BATCH], 4, axis=1)

    def on_epoch_end(self):
        self.ends += 1


class Loader:
    """A length and a fresh pass each time, as PyTorch's DataLoader."""

    def __len__(self):
        return len(Numbered())

    def __iter__(self):
        return iter(Numbered())


def flow(shuffle=False, seed=None):
    targets = np.repeat(Y, 4, axis=1)
    return ImageDataGenerator().flow(X, targets, batch_size=BATCH, shuffle=shuffle, seed=seed)


def from_directory(tmp_path):
    for i in range(N):
        folder = tmp_path / "ab"[i >= N // 2]
        folder.mkdir(exist_ok=True)
        save_img(folder / f"{i:02d}.png", X[i], scale=False)
    return ImageDataGenerator().flow_from_directory(
        tmp_path, (2, 2), "grayscale", batch_size=BATCH, shuffle=False, class_mode="input"
    )


def identity():
    model = Sequential([Input((2, 2, 1)), Flatten(), Activation("linear")])
    model.compile(SGD(0.0), "mse")
    return model


def rows(model, source, **options):
    return model.predict(source, verbose=0, **options)[:, 0].tolist()


ALL = list(range(N))


@pytest.mark.parametrize("make", [flow, Numbered, None], ids=["flow", "dataset", "directory"])
def test_predict_gives_the_rows_of_the_images_wherever_the_iterator_stands(make, tmp_path):
    model = identity()
    source = from_directory(tmp_path) if make is None else make()
    assert rows(model, source, steps=2) == ALL[:8]
    assert rows(model, source) == ALL  # after a pass that was cut short
    next(iter(source))
    assert rows(model, source) == ALL  # after a look at a batch
    assert rows(model, source) == ALL


def test_evaluate_and_validation_begin_with_the_first_batch():
    model, source = identity(), flow()
    first = model.evaluate(X[:BATCH], np.zeros((BATCH, 4)), verbose=0)
    zeros = ImageDataGenerator().flow(X, np.zeros((N, 4)), batch_size=BATCH, shuffle=False)
    for _ in range(2):
        next(zeros)
        assert model.evaluate(zeros, steps=1, verbose=0) == pytest.approx(first)
    logs = model.fit(
        source, epochs=3, steps_per_epoch=2, validation_data=zeros, validation_steps=1, verbose=0
    ).history
    assert logs["val_loss"] == pytest.approx([first] * 3)
    assert rows(model, source) == ALL


def test_training_begins_an_epoch_with_the_first_batch():
    source = flow()
    next(source)
    batches = make_batches(source)
    for _ in range(2):
        assert [y[0, 0] for _, y, _ in batches] == [0, 4, 8]


def test_training_on_other_numbers_of_steps_goes_round():
    batches = make_batches(flow(), steps=2)
    assert [[y[0, 0] for _, y, _ in batches] for _ in range(3)] == [[0, 4], [8, 0], [4, 8]]
    assert len(list(make_batches(flow(), steps=7))) == 7


def test_a_shuffled_flow_has_a_new_order_each_pass_and_the_same_by_number_within_it():
    source = flow(shuffle=True, seed=3)
    batches = make_batches(source)
    orders = [np.concatenate([y[:, 0] for _, y, _ in batches]).tolist() for _ in range(2)]
    assert orders[0] != orders[1]
    assert [sorted(order) for order in orders] == [ALL, ALL]
    by_number = np.concatenate([source[i][1][:, 0] for i in range(len(source))])
    assert rows(identity(), source) == by_number.tolist()


def test_a_pass_by_number_draws_what_next_draws():
    def images(source, batches):
        return np.concatenate([x for x, _ in (batches(source) for _ in range(6))])

    def augmented():
        generator = ImageDataGenerator(horizontal_flip=True, channel_shift_range=9.0)
        return generator.flow(X, Y, batch_size=BATCH, seed=1)

    by_number = make_batches(augmented())
    given = [xs[0] for _ in range(2) for xs, _, _ in by_number]
    np.testing.assert_array_equal(np.concatenate(given), images(augmented(), next))


def firsts(batches, epochs):
    """The first image of each batch, epoch by epoch."""
    return [[int(xs[0][0, 0, 0, 0]) for xs, _, _ in batches] for _ in range(epochs)]


@pytest.mark.parametrize(
    "make",
    [lambda: (X, Y), lambda: (Numbered(),), lambda: (Loader(),)],
    ids=["arrays", "dataset", "loader"],
)
def test_steps_go_on_where_the_last_epoch_stopped_and_a_short_one_is_told_once(make):
    def batches(steps):
        return make_batches(*make(), batch_size=BATCH, steps=steps)

    text = "the data ran out after 1 of the 2 steps of this epoch, which ends here"
    with pytest.warns(UserWarning, match=text) as told:
        assert firsts(batches(2), 4) == [[0, 4], [8], [0, 4], [8]]
    assert len(told) == 1
    assert firsts(batches(1), 4) == [[0], [4], [8], [0]]
    assert firsts(batches(3), 2) == [[0, 4, 8]] * 2
    assert firsts(batches(None), 2) == [[0, 4, 8]] * 2
    with pytest.warns(UserWarning, match="ran out after 3 of the 5 steps") as told:
        assert firsts(batches(5), 2) == [[0, 4, 8]] * 2
    assert len(told) == 1


def test_steps_of_shuffled_arrays_see_every_image_once_before_any_again():
    batches = make_batches(X, Y, batch_size=5, shuffle=True, steps=1)
    epochs = [next(iter(list(batches)))[1][:, 0].tolist() for _ in range(4)]
    assert sorted(epochs[0] + epochs[1]) == sorted(epochs[2] + epochs[3]) == ALL
    assert epochs[0] != epochs[2]


@pytest.mark.parametrize("data", [(X, Y), Numbered(), Loader(), flow()])
def test_validation_steps_are_the_same_each_time(data):
    batches = validation_batches(data, BATCH, 2)
    assert firsts(batches, 3) == [[0, 4]] * 3
    with pytest.warns(UserWarning, match="ran out after 3 of the 9 steps"):
        assert firsts(validation_batches(data, BATCH, 9), 1) == [[0, 4, 8]]


def test_a_generator_that_ends_within_an_epoch_is_told():
    batches = make_batches(((X[:1], Y[:1]) for _ in range(3)), steps=2)
    assert len(list(batches)) == 2
    with pytest.warns(UserWarning, match="ran out after 1 of the 2 steps"):
        assert len(list(batches)) == 1


def test_the_steps_of_fit_reach_all_images_and_ordinary_fits_do_not_warn():
    model, source = identity(), Numbered()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(source, epochs=3, steps_per_epoch=1, verbose=0)
        assert source.asked == [0, 1, 2] and source.ends == 3
        model.fit(source, epochs=2, verbose=0)
        losses = model.fit(
            X, np.zeros((N, 4)), batch_size=5, epochs=2, steps_per_epoch=1, shuffle=False, verbose=0
        ).history["loss"]
    assert losses == pytest.approx([(X[:5] ** 2).mean(), (X[5:] ** 2).mean()])
    assert source.asked == [0, 1, 2] * 3 and source.ends == 5


class Slow(Numbered):
    """The first batch takes longest; remembers how many are being made at the same time."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.meeting = threading.Barrier(2, timeout=20)

    def __getitem__(self, index):
        if index < 2:
            self.meeting.wait()  # which nobody passes alone
            time.sleep(0.05 * (1 - index))
        return super().__getitem__(index)


def test_workers_make_batches_ahead_in_their_order():
    source = Slow(workers=2, max_queue_size=3)
    for _ in range(2):
        assert firsts(make_batches(source), 2) == [[0, 4, 8]] * 2
    assert sorted(source.asked) == sorted([0, 1, 2] * 4) and source.ends == 4


def test_no_more_batches_are_made_ahead_than_max_queue_size():
    class Long(Numbered):
        def __len__(self):
            return 1000

        def __getitem__(self, index):
            self.asked.append(index)
            return X

    source = Long(workers=2, max_queue_size=3)
    assert sum(1 for _ in make_batches(source, steps=5)) == 5
    assert len(source.asked) <= 5 + 3


def test_an_error_of_a_worker_is_raised():
    class Broken(Numbered):
        def __getitem__(self, index):
            if index == 1:
                raise OSError("cannot read 1.png")
            return super().__getitem__(index)

    batches = iter(make_batches(Broken(workers=3)))
    next(batches)
    with pytest.raises(OSError, match="cannot read 1.png"):
        next(batches)


def test_processes_are_threads_and_the_user_is_told():
    with pytest.warns(UserWarning, match="use_multiprocessing: batches are made in threads"):
        source = Numbered(workers=1, use_multiprocessing=True)
    assert firsts(make_batches(source), 1) == [[0, 4, 8]]

    class Old(Numbered):  # as in scripts that leave out super().__init__()
        def __init__(self):
            self.asked, self.ends = [], 0

    assert firsts(make_batches(Old()), 1) == [[0, 4, 8]]
