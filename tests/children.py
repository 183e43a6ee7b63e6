"""What tests have processes of their own do. Such a process imports this file by its name."""

import multiprocessing
from contextlib import contextmanager

from small_problem import X, Y, network
from threadpoolctl import ThreadpoolController, threadpool_info

from minicnn.layers import BatchNormalization, Layer
from minicnn.parallel import one_blas_thread

TIMEOUT = 60  # seconds, of what would hang for ever


def in_a_child(method, function):
    """What `function` returns in a child of this process, started by "fork", "forkserver" or
    "spawn"."""
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=_put, args=(queue, function))
    process.start()
    try:
        return queue.get(timeout=TIMEOUT)
    finally:
        process.kill()
        process.join()


def _put(queue, function):
    queue.put(function())


def trained(*extra):
    """A model after a fit in which each batch has two shards that talk to each other.

    Args:
        extra: layers in its midst.
    """
    model = network(extra=[BatchNormalization(), *extra])
    model.fit(X, Y, batch_size=32, epochs=2, verbose=0)
    return model


def predictions():
    return trained().predict(X, verbose=0)


def blas_threads():
    return [i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"]


@contextmanager
def two_blas_threads():
    """On any number of cores. Unlike `threadpool_limits` this keeps no other thread from setting
    another number."""
    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    before = [library.num_threads for library in libraries]

    def choose(numbers):
        for library, number in zip(libraries, numbers, strict=True):
            getattr(library, "_real_set_num_threads", library.set_num_threads)(number)

    choose([2] * len(libraries))
    try:
        yield
    finally:
        choose(before)


class Watch(Layer):
    """Notes down the number of BLAS threads, and may fail."""

    def __init__(self, fail_in=None, **kwargs):
        super().__init__(**kwargs)
        self.seen, self.fail_in = [], fail_in

    def compute_output_shape(self, input_shape):
        return input_shape

    def forward(self, x, ctx):
        self.seen += blas_threads()
        if self.fail_in == "forward":
            raise ArithmeticError("forward failed")
        return x

    def backward(self, dy, ctx):
        self.seen += blas_threads()
        if self.fail_in == "backward":
            raise ArithmeticError("backward failed")
        return dy


def look_at_blas():
    """Its threads before, within and after a limit."""
    before = blas_threads()
    with one_blas_thread():
        within = blas_threads()
    return before, within, blas_threads()
