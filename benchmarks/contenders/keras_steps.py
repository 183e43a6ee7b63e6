"""Steps of Keras on TensorFlow."""

import keras
import tensorflow as tf
from keras_networks import NETWORKS

VERSIONS = {"keras": keras.__version__, "tensorflow": tf.__version__}


def make_step(task, network, x, y, threads, jit_compile=False):
    """The step to time: what `fit` and `predict` call for a batch, without their own loop.

    Args:
        jit_compile: compile with XLA.
    """
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(0)
    model = NETWORKS[network]()
    if task == "predict":
        x = tf.constant(x)
        predict = tf.function(
            lambda x: tf.nn.softmax(model(x, training=False)), jit_compile=jit_compile
        )
        return lambda: predict(x).numpy()

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("rmsprop", loss, jit_compile=jit_compile)
    model.train_on_batch(x, y)  # makes the optimizer's variables and `train_function`
    batches = iter(tf.data.Dataset.from_tensors((x, y)).repeat())
    return lambda: float(model.train_function(batches)["loss"])
