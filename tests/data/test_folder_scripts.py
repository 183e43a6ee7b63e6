"""Scripts on folders of images, as tutorials for TensorFlow write them, but for the imports."""

import numpy as np
import pytest
from PIL import Image

COLOURS = {"cat": (250, 0, 0), "dog": (0, 0, 250)}

# After TensorFlow's tutorial "Image classification", which classifies flowers.
FLOWERS = """
import matplotlib.pyplot as plt
import numpy as np
import minicnn as tf
import minicnn as keras
from minicnn import layers
from minicnn.models import Sequential

train_ds = keras.utils.image_dataset_from_directory(
    data_dir, validation_split=0.2, subset="training", seed=123,
    image_size=(img_height, img_width), batch_size=batch_size)
val_ds = keras.utils.image_dataset_from_directory(
    data_dir, validation_split=0.2, subset="validation", seed=123,
    image_size=(img_height, img_width), batch_size=batch_size)
class_names = train_ds.class_names

plt.figure(figsize=(10, 10))
for images, labels in train_ds.take(1):
    for i in range(4):
        ax = plt.subplot(3, 3, i + 1)
        plt.imshow(images[i].numpy().astype("uint8"))
        plt.title(class_names[labels[i]])
        plt.axis("off")
for image_batch, labels_batch in train_ds:
    print(image_batch.shape, labels_batch.shape)
    break

AUTOTUNE = tf.data.AUTOTUNE
train_ds = train_ds.cache().shuffle(1000).prefetch(buffer_size=AUTOTUNE)
val_ds = val_ds.cache().prefetch(buffer_size=AUTOTUNE)

normalization_layer = layers.Rescaling(1. / 255)
normalized_ds = train_ds.map(lambda x, y: (normalization_layer(x), y))
image_batch, labels_batch = next(iter(normalized_ds))
first_image = image_batch[0]
assert 0 <= np.min(first_image) and np.max(first_image) <= 1

data_augmentation = keras.Sequential([
    layers.RandomFlip("horizontal", input_shape=(img_height, img_width, 3)),
    layers.RandomRotation(0.1), layers.RandomZoom(0.1)])
for images, _ in train_ds.take(1):
    for i in range(2):
        augmented_images = data_augmentation(images)
        plt.imshow(augmented_images[0].numpy().astype("uint8"))
plt.close()

num_classes = len(class_names)
model = Sequential([
    data_augmentation, layers.Rescaling(1. / 255),
    layers.Conv2D(4, 3, padding='same', activation='relu'), layers.MaxPooling2D(),
    layers.Flatten(), layers.Dense(num_classes)])
model.compile(optimizer=keras.optimizers.Adam(0.01),
              loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
              metrics=['accuracy'])
history = model.fit(train_ds, validation_data=val_ds, epochs=12, verbose=0)
accuracy = history.history['val_accuracy'][-1]
"""

# In the style of videos and blog posts: one folder, scaled, then cut into three by batches.
CATS_AND_DOGS = """
import numpy as np
import minicnn as tf
import minicnn as keras
from minicnn.models import Sequential
from minicnn.layers import Conv2D, MaxPooling2D, Dense, Flatten
from minicnn.metrics import Precision, Recall, BinaryAccuracy

data = keras.utils.image_dataset_from_directory(
    data_dir, image_size=(img_height, img_width), batch_size=batch_size)
data_iterator = data.as_numpy_iterator()
batch = data_iterator.next()
assert type(batch[0]) is np.ndarray and batch[0].max() > 1

data = data.map(lambda x, y: (x / 255, y))
assert data.as_numpy_iterator().next()[0].max() <= 1
train_size = int(len(data) * .6)
val_size = int(len(data) * .2)
test_size = len(data) - train_size - val_size
train = data.take(train_size)
val = data.skip(train_size).take(val_size)
test = data.skip(train_size + val_size).take(test_size)

model = Sequential()
model.add(Conv2D(4, (3, 3), 1, activation='relu', input_shape=(img_height, img_width, 3)))
model.add(MaxPooling2D())
model.add(Flatten())
model.add(Dense(8, activation='relu'))
model.add(Dense(1, activation='sigmoid'))
model.compile(keras.optimizers.Adam(0.01), loss='binary_crossentropy', metrics=['accuracy'])
hist = model.fit(train, epochs=12, validation_data=val, verbose=0)

re, acc = Recall(), BinaryAccuracy()
count = 0
for batch in test.as_numpy_iterator():
    X, y = batch
    yhat = model.predict(X, verbose=0)
    re.update_state(y, yhat)
    acc.update_state(y, yhat)
    count += len(y)
assert count > 0 and float(re.result()) >= 0
accuracy = hist.history['val_accuracy'][-1]

# the labels of all batches, beside the predictions
test_ds = keras.utils.image_dataset_from_directory(
    data_dir, image_size=(img_height, img_width), batch_size=batch_size, shuffle=False)
test_ds = test_ds.map(lambda x, y: (x / 255, y), num_parallel_calls=tf.data.AUTOTUNE)
true = np.concatenate([y for x, y in test_ds], axis=0)
predicted = (model.predict(test_ds, verbose=0) > 0.5).astype("int32").ravel()
assert (true == predicted).mean() > 0.9
unbatched = np.array([label.numpy() for _, label in test_ds.unbatch()])
assert (unbatched == true).all()
"""


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (tmp_path / name).mkdir()
        for i in range(20):
            noise = rng.integers(0, 60, (10, 12, 3))
            pixels = (np.array(colour) * 0.75 + noise).astype("uint8")
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    return tmp_path


@pytest.mark.parametrize("script", [FLOWERS, CATS_AND_DOGS], ids=["flowers", "cats_and_dogs"])
def test_a_script_runs(script, folder):
    names = {"data_dir": folder, "img_height": 8, "img_width": 8, "batch_size": 4}
    exec(compile(script, "script.py", "exec"), names)
    assert names["accuracy"] > 0.9
