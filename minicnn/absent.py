"""What of Keras is not here: each such name answers with a sentence instead of a bare error.

    from minicnn.layers import LSTM     ImportError: minicnn.layers.LSTM is for sequences ...
    minicnn.layers.Conv2d               AttributeError: ... did you mean 'Conv2D'?

Module paths of older versions of Keras ("layers.convolutional", "utils.np_utils") lead to where
their names are now.
"""

import importlib
import re
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from opcode import opmap
from types import ModuleType
from typing import Any

from minicnn.registry import closest

_ROOT = __name__.partition(".")[0]

# Regular expressions of paths below `keras`, and how the sentence that the path begins goes on.
REASONS = {
    r"(layers\.)?ConvLSTM\dD|layers\.(RNN|LSTM|GRU|SimpleRNN|LSTMCell|GRUCell|SimpleRNNCell)"
    r"|layers\.(StackedRNNCells|Bidirectional|TimeDistributed|Masking)"
    r"|layers\.(Embedding|ReversibleEmbedding|TextVectorization|StringLookup)"
    r"|losses\.(CTC|ctc)|datasets\.(imdb|reuters)|preprocessing\.(text|sequence)(\..*)?"
    r"|(utils|preprocessing)\.(text_dataset_from_directory|timeseries_dataset_from_array)"
    r"|utils\.pad_sequences|preprocessing\.timeseries": (
        "is for sequences and text; minicnn classifies images"
    ),
    r"layers\.\w+1D(Transpose)?": "is for sequences; minicnn has the layers of images, in 2-D",
    r"layers\.\w+3D(Transpose)?": "is for volumes; minicnn has the layers of images, in 2-D",
    r"layers\.(Attention|AdditiveAttention|MultiHeadAttention|GroupQueryAttention|EinsumDense)"
    r"|layers\.RMSNormalization|config\.\w*flash_attention\w*": (
        "belongs to attention and transformers; minicnn has convolutional networks"
    ),
    r"layers\.(MelSpectrogram|STFTSpectrogram)|initializers\.(STFT|stft|STFTInitializer)"
    r"|utils\.audio_dataset_from_directory": "is for sound; minicnn classifies images",
    r"layers\.(IntegerLookup|Hashing|HashedCrossing|Discretization)|utils\.FeatureSpace"
    r"|datasets\.(boston_housing|california_housing)": (
        "is for tables of features; minicnn classifies images"
    ),
    r"layers\.(FlaxLayer|JaxLayer|TFSMLayer|TorchModuleWrapper)|callbacks\.OrbaxCheckpoint"
    r"|wrappers(\..*)?|export(\..*)?|estimator(\..*)?|config\.is_nnx_enabled": (
        "joins Keras to another framework; minicnn stands on NumPy alone"
    ),
    r"layers\.MaxNumBoundingBoxes|utils\.bounding_boxes(\..*)?|visualization(\..*)?"
    r"|losses\.(Dice|dice|Tversky|tversky)|metrics\.(\w*IoU)": (
        "is for detection and segmentation; minicnn classifies whole images"
    ),
    r"losses\.(Circle|circle)|layers\.(Dot|dot)": (
        "is for learning similarities; minicnn classifies images"
    ),
    r"layers\.SpectralNormalization|layers\.Wrapper": (
        "wraps a layer in another; in minicnn a Layer of your own does that, with its backward pass"
    ),
    r"layers\.(ContrastLimitedAdaptiveHistogramEqualization|RandomElasticTransform)": (
        "is seldom used; Equalization, RandomShear and RandomPerspective are like it"
    ),
    r"layers\.Lambda": (
        "has a function whose gradient minicnn cannot derive: write it as a Layer with forward and "
        "backward"
    ),
    r"metrics\.(PearsonCorrelation|pearson_correlation|ConcordanceCorrelation|R2Score)"
    r"|metrics\.concordance_correlation": "measures regressions; minicnn classifies images",
    r"optimizers\.(Adafactor|Ftrl|Lamb|Muon|MultiOptimizer|OptimizerMap|ScheduleFreeAdamW)": (
        "is seldom used for images: minicnn has SGD, Adam, AdamW, RMSprop, Lion and their kin"
    ),
    r"applications(\..*)?": (
        "has weights trained on ImageNet, which minicnn lacks: build the network from layers, "
        "or load one that Keras saved"
    ),
    r"ops(\..*)?|backend\.(?!_)\w+": (
        "has the operations of tensors: arrays are NumPy's here (CuPy's on a GPU), and so are the "
        "functions for them"
    ),
    r"distribution(\..*)?|device": (
        "spreads models over devices: see minicnn.set_num_threads and minicnn.set_backend"
    ),
    r"quantizers(\..*)?|Quantizer|dtype_policies\.\w+Policy\w*|distillation(\..*)?": (
        "makes trained models smaller; minicnn has mixed precision alone"
    ),
    r"callbacks\.RemoteMonitor": (
        "tells a server of each epoch; LambdaCallback(on_epoch_end=...) with requests.post does so"
    ),
    r"config\.enable_unsafe_deserialization": (
        "lets files of models run code; in minicnn none ever does"
    ),
    r"config\.(set_)?max_(epochs|steps_per_epoch)": "cuts short every fit; pass epochs= to fit",
    r"random\.\w+": "is seldom used for images; numpy.random.default_rng(seed) draws it",
    r"utils\.model_to_dot": "needs Graphviz; minicnn.utils.plot_model draws without it",
    r"(Function|KerasTensor|Operation|Variable|StatelessScope|SymbolicScope|name_scope|remat)"
    r"|RematScope|tree(\..*)?|legacy(\..*)?|saving\.KerasFileEditor|utils\.(legacy|Config)(\..*)?"
    r"|utils\.(get_source_inputs|is_keras_tensor|standardize_dtype)|dtype_policies\.\w+": (
        "belongs to the inner workings of Keras, which are others here"
    ),
}

# Where the names of older versions' modules are now
MOVED = {
    "layers.experimental": "layers",
    "layers.experimental.preprocessing": "layers",
    "layers.convolutional": "layers",
    "layers.core": "layers",
    "layers.advanced_activations": "layers",
    "optimizers.legacy": "optimizers",
    "optimizers.experimental": "optimizers",
    "utils.np_utils": "utils",
    "utils.generic_utils": "utils",
    "utils.data_utils": "utils",
    "utils.vis_utils": "utils",
}


def reason(path: str) -> str | None:
    """The sentence on what is not here, or None.

    Args:
        path: below `keras`, such as "layers.LSTM".
    """
    for pattern, sentence in REASONS.items():
        if re.fullmatch(pattern, path):
            return f"{_ROOT}.{path} {sentence}"
    return None


def explain_in(module: ModuleType) -> None:
    """Let `module` and the modules that it makes public, and imports from them, answer for what
    they do not have."""
    module.__getattr__ = _answering(module, vars(module).get("__getattr__"))  # type: ignore[method-assign]
    for name in getattr(module, "__all__", ()):
        inner = vars(module).get(name)
        if isinstance(inner, ModuleType):
            explain_in(inner)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


def _answering(module: ModuleType, before: Any = None, target: ModuleType | None = None) -> Any:
    """A `__getattr__` for a module that may have one `before`, or has the names of `target`."""
    shown = (target or module).__name__

    def answer(name: str) -> Any:
        path = f"{module.__name__}.{name}".partition(".")[2]
        if path in MOVED:
            return importlib.import_module(f"{_ROOT}.{path}")
        text = f"module {shown!r} has no attribute {name!r}"
        if before is not None:
            try:
                return before(name)
            except AttributeError as error:
                text = str(error)
        if text.startswith("module ") and not name.startswith("__"):
            close = closest(name, getattr(module, "__all__", None) or dir(module))
            text += f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
            text = reason(f"{shown}.{name}".partition(".")[2]) or text
        # of an AttributeError, an import statement would not show the text
        caller = sys._getframe(1)
        imports = caller.f_code.co_code[caller.f_lasti] == opmap["IMPORT_FROM"]
        raise ImportError(text, name=name) if imports else AttributeError(text)

    return answer


class _Finder(MetaPathFinder, Loader):
    """Asked last, for modules that nobody else finds."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        root, _, name = fullname.partition(".")
        if root != _ROOT:
            return None
        if name in MOVED:
            return ModuleSpec(fullname, self, is_package=True)
        text = reason(name)
        if text is not None:
            raise ModuleNotFoundError(text, name=fullname)
        return None

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        target = importlib.import_module(f"{_ROOT}.{MOVED[module.__name__.partition('.')[2]]}")
        own = ("__name__", "__loader__", "__package__", "__spec__", "__path__", "__file__")
        vars(module).update({k: v for k, v in vars(target).items() if k not in own})
        module.__getattr__ = _answering(module, target=target)  # type: ignore[method-assign]
