"""`ImageDataGenerator.flow_from_dataframe`: images whose files and labels stand in a table."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from minicnn.preprocessing import files
from minicnn.preprocessing.iterators import SUBSETS, FilesIterator
from minicnn.registry import near_matches

if TYPE_CHECKING:
    from minicnn.preprocessing.image import ImageDataGenerator

_OF_CLASSES = ("categorical", "binary", "sparse")
_DEPRECATED = ("has_ext", "sort", "drop_duplicates")


class FromDataFrame:
    """What an `ImageDataGenerator` can do with a table."""

    def flow_from_dataframe(
        self,
        dataframe: Any,
        directory: files.PathLike | None = None,
        x_col: str = "filename",
        y_col: str | Sequence[str] = "class",
        weight_col: str | None = None,
        target_size: tuple[int, int] = (256, 256),
        color_mode: str = "rgb",
        classes: Sequence[str] | None = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        save_to_dir: files.PathLike | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        subset: str | None = None,
        interpolation: str = "nearest",
        validate_filenames: bool = True,
        **kwargs: Any,
    ) -> FilesIterator:
        """Endless batches of the images that a table names.

        Args:
            dataframe: a pandas DataFrame, or anything else with columns by name, such as a
                dictionary of lists.
            directory: what file names are relative to; None for the current directory.
            x_col: the column with the file names.
            y_col: the column with the targets, or a list of columns.
            weight_col: a column of sample weights.
            classes: labels in the order of their numbers, rows of others are left out; default:
                all, sorted.
            class_mode: "categorical" for one-hot targets, of a text or a list of texts; "sparse" or
                "binary" for numbers of texts; "raw" for the values of y_col; "multi_output" for a
                list of those of several columns; "input" for the images themselves; None for none.
            subset: "training" or "validation", see `validation_split`: the first rows are for
                validation.
            validate_filenames: leave out, with a warning, files that do not exist or are no images.
            target_size, color_mode, batch_size, shuffle, seed, interpolation: see
                `flow_from_directory`.
            save_to_dir, save_prefix, save_format: see `flow`.
            kwargs: what older versions of Keras had, which is ignored with a warning.

        Raises:
            TypeError: file names that are no texts, or labels that are none.
            ValueError: a column that does not exist, no images, or an unknown argument.
        """
        for name in kwargs:
            files.check_choice("argument", name, _DEPRECATED)
            warnings.warn(f"{name} is deprecated in Keras, and ignored", stacklevel=2)
        if class_mode == "other":
            warnings.warn("class_mode 'other' is deprecated, write 'raw'", stacklevel=2)
            class_mode = "raw"
        modes = (*_OF_CLASSES, "raw", "multi_output", "input", None)
        files.check_choice("class_mode", class_mode, modes)
        files.check_choice("subset", subset, SUBSETS)

        names = _column(dataframe, x_col)
        if not all(isinstance(name, (str, os.PathLike)) for name in names):
            raise TypeError(
                f"x_col {x_col!r} should hold file names as texts; df[{x_col!r}].astype(str) makes "
                f"texts of numbers"
            )
        rows = list(range(len(names)))
        if validate_filenames:
            rows = _existing([Path(directory or "") / name for name in names], x_col)
        labels: list[list[str]] = []
        indices: dict[str, int] = {}
        if class_mode in _OF_CLASSES:
            labels = _labels(_column(dataframe, y_col), y_col, class_mode == "categorical")
            known = dict.fromkeys(classes or sorted({n for row in rows for n in labels[row]}))
            indices = {name: number for number, name in enumerate(known)}
            if class_mode == "binary" and len(indices) != 2:
                raise ValueError(f"class_mode 'binary' is for 2 classes, found {list(indices)}")
            rows = [row for row in rows if any(name in indices for name in labels[row])]
        elif classes:
            warnings.warn(f"classes are not used with class_mode {class_mode!r}", stacklevel=2)
        generator = cast("ImageDataGenerator", self)
        if subset is not None:
            cut = int(len(rows) * generator.checked_validation_split())
            rows = rows[:cut] if subset == "validation" else rows[cut:]

        numbers: Any = None
        targets: Any = None
        if class_mode in _OF_CLASSES:
            numbers = [[indices[n] for n in labels[row] if n in indices] for row in rows]
            if all(len(of_row) == 1 for of_row in numbers):
                numbers = np.array(numbers, np.int32).reshape(-1)
        elif class_mode in ("raw", "multi_output"):
            several = [y_col] if isinstance(y_col, str) else list(y_col)
            targets = [np.array(_column(dataframe, name))[rows] for name in several]
            if class_mode == "raw":
                targets = targets[0] if isinstance(y_col, str) else np.stack(targets, axis=1)
        weight = None
        if weight_col is not None:
            weight = np.array(_column(dataframe, weight_col))[rows]
            if weight.dtype.kind not in "fiu":
                raise TypeError(
                    f"weight_col {weight_col!r} should hold numbers, not {weight.dtype}"
                )
        of_classes = f" belonging to {len(indices)} classes" if indices else ""
        validated = "validated" if validate_filenames else "non-validated"
        print(f"Found {len(rows)} {validated} image filenames{of_classes}.")
        return FilesIterator(
            [os.fspath(names[row]) for row in rows], directory, numbers, indices, generator,
            target_size=target_size, color_mode=color_mode, class_mode=class_mode,
            interpolation=interpolation, targets=targets, sample_weight=weight,
            batch_size=batch_size, shuffle=shuffle, seed=seed, save_to_dir=save_to_dir,
            save_prefix=save_prefix, save_format=save_format,
        )  # fmt: skip


def _column(dataframe: Any, name: Any) -> list[Any]:
    columns = list(dataframe)
    if name not in columns:
        raise ValueError(f"no column {name!r}; {near_matches(str(name), map(str, columns))}")
    return list(dataframe[name])


def _existing(paths: Sequence[Path], x_col: str) -> list[int]:
    """The rows whose file is there and has the name of an image."""
    good = [p.suffix.lower() in files.IMAGE_SUFFIXES and p.is_file() for p in paths]
    if not all(good):
        bad = [str(path) for path, is_good in zip(paths, good, strict=True) if not is_good]
        warnings.warn(
            f"{len(bad)} of {len(paths)} files of x_col {x_col!r} do not exist or are no images, "
            f"and are left out: {', '.join(bad[:3])}{' ...' * (len(bad) > 3)}",
            stacklevel=3,
        )
    return [row for row, is_good in enumerate(good) if is_good]


def _labels(values: Sequence[Any], y_col: Any, lists: bool) -> list[list[str]]:
    """The labels of each row, where one alone may stand without a list."""
    labels = [list(v) if lists and isinstance(v, (list, tuple)) else [v] for v in values]
    if not all(isinstance(name, str) for row in labels for name in row):
        kinds = "texts, or lists of them" if lists else "texts"
        raise TypeError(
            f"y_col {y_col!r} should hold {kinds} in this class_mode; df[{y_col!r}].astype(str) "
            f"makes texts of numbers, class_mode='raw' takes them as they are"
        )
    return labels
