"""What tests have processes of their own do. Such a process imports this file by its name."""

import multiprocessing

from small_problem import X, Y, network
from threadpoolctl import threadpool_info

from minicnn.layers import BatchNormalization
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


def trained():
    """A model after a fit in which each batch has two shards that talk to each other."""
    model = network(extra=[BatchNormalization()])
    model.fit(X, Y, batch_size=32, epochs=2, verbose=0)
    return model


def predictions():
    return trained().predict(X, verbose=0)


def blas_threads():
    return [i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"]


def look_at_blas():
    """Its threads before, within and after a limit."""
    before = blas_threads()
    with one_blas_thread():
        within = blas_threads()
    return before, within, blas_threads()
