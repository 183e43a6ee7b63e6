"""Whole scripts, written as Keras's tutorials write them, run with only their imports changed."""

import re

import numpy as np
import pytest

from minicnn.datasets import cifar10, shapes
from minicnn.utils import set_random_seed

# After the TensorFlow tutorial "Convolutional Neural Network (CNN)".
TENSORFLOW_TUTORIAL = """
from tensorflow.keras import datasets, layers, models, losses

(train_images, train_labels), (test_images, test_labels) = datasets.cifar10.load_data()

# Normalize pixel values to be between 0 and 1
train_images, test_images = train_images / 255.0, test_images / 255.0

model = models.Sequential()
model.add(layers.Conv2D(32, (3, 3), activation='relu', input_shape=(32, 32, 3)))
model.add(layers.MaxPooling2D((2, 2)))
model.add(layers.Conv2D(64, (3, 3), activation='relu'))
model.add(layers.MaxPooling2D((2, 2)))
model.add(layers.Conv2D(64, (3, 3), activation='relu'))
model.summary()
model.add(layers.Flatten())
model.add(layers.Dense(64, activation='relu'))
model.add(layers.Dense(10))
model.summary()

model.compile(optimizer='adam',
              loss=losses.SparseCategoricalCrossentropy(from_logits=True),
              metrics=['accuracy'])

history = model.fit(train_images, train_labels, epochs=2,
                    validation_data=(test_images, test_labels))

accuracy = history.history['accuracy'], history.history['val_accuracy']
test_loss, test_acc = model.evaluate(test_images, test_labels, verbose=2)
print(test_acc)
"""

# After the example "cifar10_cnn.py" that came with Keras for years.
KERAS_EXAMPLE = """
import keras
from keras.datasets import cifar10
from keras.preprocessing.image import ImageDataGenerator
from keras.models import Sequential, load_model
from keras.layers import Dense, Dropout, Activation, Flatten, BatchNormalization
from keras.layers import Conv2D, MaxPooling2D
from keras.callbacks import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from keras.optimizers import RMSprop
from keras import regularizers
import numpy as np
import os

batch_size = 32
num_classes = 10
epochs = 2
data_augmentation = True
save_dir = os.path.join(os.getcwd(), 'saved_models')
model_name = 'keras_cifar10_trained_model.safetensors'

(x_train, y_train), (x_test, y_test) = cifar10.load_data()
print('x_train shape:', x_train.shape)
print(x_train.shape[0], 'train samples')
y_train = keras.utils.to_categorical(y_train, num_classes)
y_test = keras.utils.to_categorical(y_test, num_classes)

model = Sequential()
model.add(Conv2D(8, (3, 3), padding='same', kernel_regularizer=regularizers.l2(1e-4),
                 input_shape=x_train.shape[1:]))
model.add(Activation('relu'))
model.add(BatchNormalization())
model.add(Conv2D(8, (3, 3), kernel_initializer='he_uniform'))
model.add(Activation('elu'))
model.add(MaxPooling2D(pool_size=(2, 2)))
model.add(Dropout(0.25))
model.add(Flatten())
model.add(Dense(32))
model.add(Activation('relu'))
model.add(Dropout(0.5))
model.add(Dense(num_classes))
model.add(Activation('softmax'))

opt = RMSprop(learning_rate=0.001)
model.compile(loss='categorical_crossentropy', optimizer=opt, metrics=['accuracy'])

x_train = x_train.astype('float32')
x_test = x_test.astype('float32')
x_train /= 255
x_test /= 255

if not os.path.isdir(save_dir):
    os.makedirs(save_dir)
model_path = os.path.join(save_dir, model_name)
callbacks = [
    EarlyStopping(monitor='val_loss', patience=3, verbose=1, restore_best_weights=True),
    ModelCheckpoint(model_path, monitor='val_accuracy', save_best_only=True, mode='max'),
    ReduceLROnPlateau(monitor='val_loss', factor=0.5, patience=1, min_lr=1e-5),
]

datagen = ImageDataGenerator(
    featurewise_center=False,
    samplewise_center=False,
    featurewise_std_normalization=False,
    samplewise_std_normalization=False,
    zca_whitening=False,
    rotation_range=15,
    width_shift_range=0.1,
    height_shift_range=0.1,
    shear_range=0.,
    zoom_range=0.1,
    channel_shift_range=0.,
    fill_mode='nearest',
    cval=0.,
    horizontal_flip=True,
    vertical_flip=False,
    rescale=None,
    preprocessing_function=None,
    data_format=None,
    validation_split=0.0)
datagen.fit(x_train)
history = model.fit(datagen.flow(x_train, y_train, batch_size=batch_size),
                    steps_per_epoch=len(x_train) // batch_size,
                    epochs=epochs,
                    validation_data=(x_test, y_test),
                    callbacks=callbacks)

best = load_model(model_path)
scores = best.evaluate(x_test, y_test, verbose=1)
print('Test loss:', scores[0])
print('Test accuracy:', scores[1])

y_pred = np.argmax(model.predict(x_test), axis=1)
y_true = np.argmax(y_test, axis=1)
test_acc = scores[1]
accuracy = history.history['accuracy'], history.history['val_accuracy']

from keras.report import classification_report, confusion_matrix
print(classification_report(y_true, y_pred))
matrix = confusion_matrix(y_true, y_pred, num_classes)
"""

# In the style of the Keras 3 guides: the functional interface, all through `keras.`.
FUNCTIONAL = """
import numpy as np
from tensorflow import keras
from tensorflow.keras import layers

keras.utils.set_random_seed(1)
(x_train, y_train), (x_test, y_test) = keras.datasets.cifar10.load_data()
assert x_train.shape[1:] == (32, 32, 3) and x_train.dtype == np.uint8
assert y_train.shape == (len(x_train), 1)

augmentation = keras.Sequential([
    layers.RandomFlip("horizontal"),
    layers.RandomTranslation(height_factor=0.1, width_factor=0.1),
    layers.RandomZoom(0.1),
], name="augmentation")


def residual_block(x, filters, strides=1):
    shortcut = x
    x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False,
                      kernel_regularizer=keras.regularizers.L2(1e-4))(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    if strides != 1:
        shortcut = layers.Conv2D(filters, 1, strides=strides, use_bias=False)(shortcut)
    x = layers.add([x, shortcut])
    return layers.Activation("relu")(x)


inputs = keras.Input(shape=(32, 32, 3))
x = augmentation(inputs)
x = layers.Rescaling(1.0 / 255)(x)
x = layers.Conv2D(8, 3, padding="same")(x)
x = residual_block(x, 8)
x = residual_block(x, 16, strides=2)
x = layers.GlobalAveragePooling2D()(x)
x = layers.Dropout(0.2)(x)
outputs = layers.Dense(10, activation="softmax")(x)
model = keras.Model(inputs=inputs, outputs=outputs, name="small_resnet")
model.summary()

schedule = keras.optimizers.schedules.ExponentialDecay(
    0.01, decay_steps=100, decay_rate=0.96, staircase=True)
model.compile(
    optimizer=keras.optimizers.SGD(learning_rate=schedule, momentum=0.9, nesterov=True),
    loss=keras.losses.SparseCategoricalCrossentropy(),
    metrics=[
        keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
        keras.metrics.SparseTopKCategoricalAccuracy(k=5, name="top5"),
    ],
)


class Progress(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        print(f"epoch {epoch}: {logs['loss']:.3f} {logs['val_top5']:.3f}")


history = model.fit(
    x_train, y_train, batch_size=64, epochs=2, validation_split=0.1,
    callbacks=[
        Progress(),
        keras.callbacks.CSVLogger("log.csv"),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.LambdaCallback(on_train_end=lambda logs: print("done")),
    ],
)
accuracy = history.history["accuracy"], history.history["val_accuracy"]
test_loss, test_acc, top5 = model.evaluate(x_test, y_test)

# fine-tune the head alone
for layer in model.layers[:-1]:
    layer.trainable = False
model.compile(keras.optimizers.Adam(1e-3), loss="sparse_categorical_crossentropy",
              metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=64, epochs=1, verbose=2)
features = keras.Model(model.input, model.layers[-2].output).predict(x_test, verbose=0)
assert features.shape == (len(x_test), 16)
"""

# In the style of blog posts: blocks of a small VGG, step decay, and a file as Keras writes it.
BLOG = """
import numpy
from keras.datasets import cifar10
from keras.utils import to_categorical
from keras.models import Sequential, load_model
from keras.layers import Conv2D, MaxPool2D, Dense, Flatten, Dropout, Input
from keras.layers import BatchNormalization, LeakyReLU
from keras.optimizers import SGD
from keras.callbacks import LearningRateScheduler
from keras.preprocessing.image import load_img, img_to_array, array_to_img
from keras import backend as K

K.clear_session()


def load_dataset():
    (trainX, trainY), (testX, testY) = cifar10.load_data()
    return trainX, to_categorical(trainY), testX, to_categorical(testY, num_classes=10)


def prep_pixels(train, test):
    return train.astype('float32') / 255.0, test.astype('float32') / 255.0


def define_model():
    model = Sequential([
        Input((32, 32, 3)),
        Conv2D(8, (3, 3), activation='relu', kernel_initializer='he_uniform', padding='same'),
        MaxPool2D((2, 2)),
        Conv2D(8, 3, padding='same'),
        LeakyReLU(negative_slope=0.1),
        MaxPool2D(pool_size=2, strides=2),
        BatchNormalization(),
        Dropout(0.2),
        Flatten(),
        Dense(10, 'softmax'),
    ])
    opt = SGD(learning_rate=0.01, momentum=0.9)
    model.compile(optimizer=opt, loss='categorical_crossentropy', metrics=['accuracy'])
    return model


def step_decay(epoch, lr):
    return lr * 0.5 if epoch else lr


trainX, trainY, testX, testY = load_dataset()
trainX, testX = prep_pixels(trainX, testX)
model = define_model()
history = model.fit(trainX, trainY, 64, 2, 0, [LearningRateScheduler(step_decay)],
                    validation_data=(testX, testY))
assert abs(float(model.optimizer.learning_rate) - 0.005) < 1e-9
accuracy = history.history['accuracy'], history.history['val_accuracy']
_, test_acc = model.evaluate(testX, testY, verbose=0)
print('> %.3f' % (test_acc * 100.0))
model.save('final_model.keras')

array_to_img(testX[0]).save('sample_image.png')
img = img_to_array(load_img('sample_image.png', target_size=(32, 32)))
img = img.reshape(1, 32, 32, 3).astype('float32') / 255.0
model = load_model('final_model.keras')
result = numpy.argmax(model.predict(img), axis=-1)
assert result.shape == (1,) and 0 <= result[0] < 10
"""


def translated(script):
    """The script with nothing but its import lines changed."""
    lines = []
    for line in script.splitlines():
        if re.match(r"(import|from) (tensorflow|keras)\b", line):
            line = line.replace("from tensorflow import keras", "import minicnn as keras")
            line = line.replace("tensorflow.keras", "minicnn").replace("from keras", "from minicnn")
            line = line.replace("import keras", "import minicnn as keras")
        lines.append(line)
    return "\n".join(lines)


@pytest.mark.parametrize(
    "script",
    [TENSORFLOW_TUTORIAL, KERAS_EXAMPLE, FUNCTIONAL, BLOG],
    ids=["tensorflow_tutorial", "keras_example", "functional", "blog"],
)
def test_a_keras_script_runs(script, monkeypatch, tmp_path, capsys):
    data = shapes.load_data(192, 64)
    monkeypatch.setattr(cifar10, "load_data", lambda: data)
    monkeypatch.chdir(tmp_path)
    set_random_seed(0)
    names: dict = {"__name__": "__main__"}
    exec(compile(translated(script), "script.py", "exec"), names)
    assert len(names["accuracy"][0]) == len(names["accuracy"][1]) == 2
    assert 0 <= names["test_acc"] <= 1 and np.isfinite(names["history"].history["loss"]).all()
    assert capsys.readouterr().out
