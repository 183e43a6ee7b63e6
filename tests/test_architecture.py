"""The plan of the house, checked from the syntax trees: minicnn itself is not imported here.

A room is a sub-package or a top-level module of minicnn. Rooms stand on floors and import downwards
only, so that a room can be read without those above it. Further checks look at one file at a time:
its length, docstrings, annotations and words. These also run without pytest:

    python tests/test_architecture.py minicnn/layers minicnn/losses
"""

import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from itertools import accumulate, takewhile
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

# From the ground up. A room may import the rooms on the lines above its own, not those beside it.
FLOORS = (
    ("typing", "_version", "custom_objects"),
    ("registry",),
    ("absent",),
    ("backend",),
    ("dtypes", "files", "parallel"),
    ("kernels", "dtype_policies", "arrays_file"),
    ("random",),
    ("activations", "constraints", "initializers", "losses", "regularizers"),
    ("optimizers",),
    ("data", "layers", "metrics", "mixed_precision", "progress"),
    ("callbacks", "config", "preprocessing"),
    ("datasets", "plots", "report"),
    ("training",),
    ("models",),
    ("gradcheck", "profiler", "saving"),
    ("utils",),
    ("minicnn",),  # its __init__, the contents page
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

PARALLEL_MAY_IMPORT = {"typing", "backend"}  # how to split a batch, whatever is done with it

# Functions that, when called, import from above, or in their own room a module that imports theirs:
# mostly since Keras's interface asks for it.
UPWARD_CALLS = {
    ("minicnn.layers.configurations.deserialize", "minicnn.saving"),
    ("minicnn.layers.configurations.serialize", "minicnn.saving"),
    ("minicnn.layers.nodes.SymbolicTensor.activated", "minicnn.layers.activation"),
    ("minicnn.layers.nodes.SymbolicTensor._merged", "minicnn.layers.merge"),
    ("minicnn.layers.nodes.SymbolicTensor._rescaled", "minicnn.layers.rescaling"),
    ("minicnn.callbacks.checkpoint.ModelCheckpoint.on_train_begin", "minicnn.saving"),
    ("minicnn.models.model.Model.load_weights", "minicnn.saving"),
    ("minicnn.models.model.Model.profile", "minicnn.profiler"),
    ("minicnn.models.model.Model.save", "minicnn.saving"),
    ("minicnn.models.model.Model.save_weights", "minicnn.saving"),
    ("minicnn.models.model.Model.to_json", "minicnn.saving"),
    ("minicnn.models.__getattr__", "minicnn.saving"),  # load_model, model_from_json, save_model
    ("minicnn.plots.__getattr__", "minicnn.profiler"),  # plot_profile
    ("minicnn.preprocessing.__getattr__", "minicnn.datasets.folder"),
}

MOST_LINES = 500
# Arguments of kernels and layers that are arrays: annotated `Array`, not `Any`
ARRAYS = {"x", "dx", "y", "dy", "z", "dz", "w", "dw", "g", "images", "kernel"}
# Say: does not support, default, per image, your own, element by element
DISCOURAGED = (
    "minicnn has not", "where not given", "multiply-adds an image", "bytes an image",
    "numbers an image", "elements an image", "of one's own", "number by number",
)  # fmt: skip

FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
Findings = list[str]
House = dict[str, str]  # each file's source by its path, such as "minicnn/layers/conv.py"

EVERYWHERE = ("minicnn", "tests", "benchmarks", "examples")
SOURCES: House = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for directory in EVERYWHERE
    for path in sorted((ROOT / directory).rglob("*"))
    if path.suffix in (".py", ".cu", ".cuh")
}
LIBRARY = {path: SOURCES[path] for path in SOURCES if re.match(r"minicnn/.*\.py", path)}


@cache
def tree(source: str) -> ast.Module:
    return ast.parse(source)


# Checks of the whole house: who imports whom


class Import(NamedTuple):
    path: str
    line: int
    importer: str  # a module, or a function where it happens when that is called
    called: bool
    module: str  # in which the importer is
    target: str  # a module, or a name in a module

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.importer} imports {self.target}"


def module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def room_of(module: str) -> str:
    """ "layers" for minicnn.layers.conv, and "minicnn" for minicnn itself."""
    return module.split(".")[:2][-1]


def imports(path: str, node: ast.AST, scope: str = "", called: bool = False) -> Iterator[Import]:
    """All imports below a node, in functions too, but not those for type checkers only."""
    module = module_name(path)
    for child in [c for c in ast.iter_child_nodes(node) if not isinstance(c, ast.expr)]:
        targets = []
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            child = ast.Module(child.orelse, [])
        elif isinstance(child, ast.Import):
            targets = [alias.name for alias in child.names]
        elif isinstance(child, ast.ImportFrom):
            package = path.rpartition("/")[0].replace("/", ".")
            origin = resolve_name("." * child.level + (child.module or ""), package)
            targets = [f"{origin}.{alias.name}" for alias in child.names]
        for target in targets:
            yield Import(path, child.lineno, module + scope, called, module, target)
        inner = f"{scope}.{child.name}" if isinstance(child, (*FUNCTION, ast.ClassDef)) else scope
        yield from imports(path, child, inner, called or isinstance(child, FUNCTION))


def imports_within(house: House) -> list[Import]:
    """The imports of the house's own modules."""
    modules = {module_name(path) for path in house}
    found = [item for path in house for item in imports(path, tree(house[path]))]
    named = [item for item in found if item.target not in modules]  # such as minicnn.a.function
    found += [item._replace(target=item.target.rpartition(".")[0]) for item in named]
    return [item for item in found if item.target in modules]


def circles(house: House, added: Import | None = None) -> Findings:
    """A circle of modules that import each other at import time, or would with one import added.
    `import minicnn.a.b` runs minicnn.a as well. This does not count where minicnn.a itself contains
    the importer: every module of a package would form a circle with it."""
    graph: dict[str, set[str]] = {module_name(path): set() for path in house}
    for item in imports_within(house):
        if not item.called or item == added:
            packages = accumulate(item.target.split("."), "{}.{}".format)
            run = {p for p in packages if not f"{item.module}.".startswith(f"{p}.")}
            graph[item.module] |= run | {item.target}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" <- ".join(error.args[1])]
    return []


def goes_up(item: Import) -> bool:
    """Whether something is imported from another room that does not stand below."""
    room, target = room_of(item.module), room_of(item.target)
    if room == "parallel":
        return target not in {"parallel", *PARALLEL_MAY_IMPORT}
    return room != target and FLOOR_OF[target] >= FLOOR_OF[room]


def upward_imports(house: House) -> Findings:
    return [str(item) for item in imports_within(house) if goes_up(item) and not item.called]


def upward_calls(house: House, listed: set[tuple[str, str]] = UPWARD_CALLS) -> Findings:
    """Imports in functions that go up, or close a circle within their room, and are not listed; and
    the listed ones that do not exist."""
    found = {
        (item.importer, item.target): str(item)
        for item in imports_within(house)
        if item.called
        and (goes_up(item) or room_of(item.module) == room_of(item.target) and circles(house, item))
    }
    unlisted = [text for call, text in found.items() if call not in listed]
    return unlisted + [f"listed, but not found: {call}" for call in listed if call not in found]


def cupy_imports(house: House) -> Findings:
    """Imports of cupy, cupyx and cupy_backends, in functions too, outside the backend."""
    found = [i for path in house for i in imports(path, tree(house[path]))]
    return [str(i) for i in found if i.target[:4] == "cupy" and i.path != "minicnn/backend.py"]


# Checks of one file: its path and text in, findings out


def too_long(path: str, source: str) -> Findings:
    lines = len(source.splitlines())
    return [f"{path}: {lines} lines, {MOST_LINES} at most"] if lines > MOST_LINES else []


def public(body: Iterable[ast.AST]) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """The public functions and classes of a body, those under `if` and `try` too; of a property
    only the getter."""
    for node in body:
        if isinstance(node, (*FUNCTION, ast.ClassDef)):
            decorators = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
            if not node.name.startswith("_") and not re.search(r"\.(sett|delet)er", decorators):
                yield node
        elif isinstance(node, (ast.stmt, ast.ExceptHandler)):
            yield from public(ast.iter_child_nodes(node))


def classes(source: str) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in ast.walk(tree(source)) if isinstance(node, ast.ClassDef)}


LIBRARY_CLASSES = {name: c for source in LIBRARY.values() for name, c in classes(source).items()}


def with_bases(cls: ast.ClassDef, source: str) -> list[ast.ClassDef]:
    """A class and its base classes, as far as minicnn or `source` defines them."""
    known = LIBRARY_CLASSES | classes(source) | {cls.name: None}
    bases = [known.get(ast.unparse(base).rpartition(".")[2]) for base in cls.bases]
    return [cls] + [found for base in bases if base for found in with_bases(base, source)]


def without_word(function: ast.FunctionDef, *docs: str | None) -> list[str]:
    """The public arguments of a function that are not named in any of the docstrings."""
    arguments = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    names = [a.arg for a in arguments if a.arg not in ("self", "cls") and a.arg[0] != "_"]
    words = set(re.findall(r"\w+", " ".join(doc for doc in docs if doc)))
    return [name for name in names if name not in words]


def undocumented(path: str, source: str) -> Findings:
    """Public classes, functions and methods without a docstring, or with an argument that it leaves
    out. Methods that a base class documents need none."""
    found = []
    for node in public(tree(source).body):
        doc = ast.get_docstring(node)
        if isinstance(node, FUNCTION):
            found.append((node, node.name, without_word(node, doc)))
            continue
        lineage = with_bases(node, source)
        # Arguments of a constructor that a private base class defines have their words here, too.
        told = [node, *takewhile(lambda cls: cls.name[0] == "_", lineage[1:])]
        inits = [f for cls in told for f in cls.body if getattr(f, "name", "") == "__init__"]
        arguments = without_word(inits[0], doc, ast.get_docstring(inits[0])) if inits else []
        found.append((node, node.name, arguments))
        documented = {m.name for c in lineage[1:] for m in public(c.body) if ast.get_docstring(m)}
        for method in public(node.body):
            if isinstance(method, FUNCTION) and method.name not in documented:
                arguments = without_word(method, ast.get_docstring(method), doc)
                found.append((method, f"{node.name}.{method.name}", arguments))
    return [
        f"{path}:{node.lineno} {name}: "
        + (f"no word about {', '.join(arguments)}" if ast.get_docstring(node) else "no docstring")
        for node, name, arguments in found
        if arguments or not ast.get_docstring(node)
    ]


def assigned_docstrings(path: str, source: str) -> Findings:
    """Assignments to `__doc__`: no editor sees such a docstring."""
    nodes = [n for n in ast.walk(tree(source)) if isinstance(n, (ast.Name, ast.Attribute))]
    stored = [n for n in nodes if isinstance(n.ctx, ast.Store) and "__doc__" in ast.unparse(n)]
    return [f"{path}:{node.lineno} assigns __doc__" for node in stored]


def arrays_called_any(path: str, source: str) -> Findings:
    functions = [node for node in ast.walk(tree(source)) if isinstance(node, FUNCTION)]
    return [
        f"{path}:{argument.lineno} {function.name}: {argument.arg} is an Array, not Any"
        for function in functions
        for argument in ast.walk(function.args)
        if isinstance(argument, ast.arg) and argument.arg in ARRAYS and argument.annotation
        if "Any" in ast.unparse(argument.annotation).split(" | ")
    ]


def discouraged_phrases(path: str, source: str) -> Findings:
    """A phrase may go on in the next line of a comment, or in the next string."""
    found = []
    for phrase in DISCOURAGED if path != "tests/test_architecture.py" else ():
        for match in re.finditer(r"""(\s|#|f?["'])+""".join(phrase.split()), source, re.IGNORECASE):
            line = source.count("\n", 0, match.start()) + 1
            found.append(f"{path}:{line} says {phrase!r}")
    return found


WHERE: dict[Callable[[str, str], Findings], tuple[str, ...]] = {
    too_long: EVERYWHERE,
    undocumented: ("minicnn",),
    assigned_docstrings: EVERYWHERE,
    arrays_called_any: ("minicnn/kernels", "minicnn/layers"),
    discouraged_phrases: EVERYWHERE,
}


def findings_of(path: str) -> Findings:
    readable = set(WHERE) if path.endswith(".py") else {too_long, discouraged_phrases}
    checks = [check for check in WHERE if check in readable and path.startswith(WHERE[check])]
    return [finding for check in checks for finding in check(path, SOURCES[path])]


def none(findings: Findings) -> None:
    assert not findings, "\n" + "\n".join(findings)


def test_every_room_stands_on_one_floor():
    rooms = {room_of(module_name(path)) for path in LIBRARY}
    assert sorted(room for floor in FLOORS for room in floor) == sorted(rooms)


def test_rooms_import_downwards_so_kernels_know_nothing_of_layers_nor_layers_of_training():
    none(upward_imports(LIBRARY))


def test_only_the_listed_functions_import_from_above_when_called():
    none(upward_calls(LIBRARY))
    assert upward_calls({}, listed={("minicnn.a.f", "minicnn.b")})  # listed, but does not exist


def test_no_modules_import_each_other_in_a_circle():
    none(circles(LIBRARY))


def test_only_the_backend_imports_cupy():
    none(cupy_imports(LIBRARY))


@pytest.mark.parametrize("path", SOURCES)
def test_files_are_short_documented_and_in_plain_words(path):
    none(findings_of(path))


# Wrong on purpose: what each check has to find. Paths are short for minicnn/{path}.py.
WRONG_HOUSES = [
    (upward_imports, {"layers/__init__": "", "kernels/conv": "if 1: import minicnn.layers"}),
    (upward_imports, {"plots": "", "report": "try: from minicnn import plots\nfinally: 0"}),
    (upward_imports, {"registry": "", "parallel/threads": "from minicnn.registry import near"}),
    (upward_calls, {"layers/base": "class A:\n def f(s): import minicnn.saving", "saving": ""}),
    (upward_calls, {"a/b": "def f(): from minicnn.a import c", "a/c": "import minicnn.a.b"}),
    (circles, {"a/b": "from . import c", "a/c": "from minicnn.a.b import name"}),
    (circles, {"a/__init__": "from minicnn.a.b import c", "a/b": "from minicnn.a import c"}),
    (circles, {"a/__init__": "import minicnn.b", "a/c": "", "b": "import minicnn.a.c"}),
    (cupy_imports, {"kernels/conv": "def f():\n from cupy_backends.cuda import libs"}),
]
RIGHT_HOUSE = {
    "backend": "import cupy",
    "kernels/conv": "if TYPE_CHECKING: import minicnn.layers\nelse: import minicnn.backend",
    "layers/__init__": "from minicnn.layers import conv",
    "layers/conv": "from minicnn.kernels.conv import conv2d\ndef f(): import minicnn.backend",
}
WRONG_FILES = [
    (too_long, "\n" * (MOST_LINES + 1), "501 lines"),
    (undocumented, "if 1:\n def f(): 0", "no docstring"),
    (undocumented, "def f(ab, *, cd, _e): 'About ab and abcd.'", "f: no word about cd"),
    (undocumented, "class A:\n 'B.'\n def __init__(self, b): 0", "A: no word about b"),
    (undocumented, "class A:\n 'B.'\n def f(self): 0", "A.f: no docstring"),
    (undocumented, "class A:\n 'B.'\n def f(self, b): 'C.'", "A.f: no word about b"),
    (undocumented, "class _A:\n def __init__(self, b): 0\nclass A(_A): 'C.'", "A: no word about b"),
    (assigned_docstrings, "class A:\n __doc__ = f'{A}'", ":2 assigns"),
    (assigned_docstrings, "A.__doc__, b = c", ":1 assigns"),
    (arrays_called_any, "class A:\n def f(self, *, dy: Any | None): 0", "f: dy is"),
    (discouraged_phrases, "# Where not\n# given", ":1 says 'where not given'"),
    (discouraged_phrases, "a = 1\nf('numbers an '\n  f'image')", ":2 says 'numbers an image'"),
]
RIGHT_FILE = """
class Base:
    "Has a size."
    def __init__(self, size, *args, **kwargs): ...
    def grow(self, x: Array, size: Any): "By `x`."
class Child(Base):
    "Shrinks."
    def grow(self, x, more): ...
    @property
    def height(self): "In cm."
    @height.setter
    def height(self, value): ...
"""


@pytest.mark.parametrize("check, wrong", WRONG_HOUSES)
def test_checks_of_the_house_find_what_is_wrong(check, wrong):
    options = {"listed": set()} if check is upward_calls else {}
    for house, findings in ((wrong, 1), (RIGHT_HOUSE, 0)):
        house = {f"minicnn/{path}.py": source for path, source in house.items()}
        assert len(check(house, **options)) == findings


@pytest.mark.parametrize("check, wrong, expected", WRONG_FILES)
def test_checks_of_a_file_find_what_is_wrong(check, wrong, expected):
    (finding,) = check("minicnn/layers/new.py", wrong)
    assert expected in finding
    none(check("minicnn/layers/new.py", RIGHT_FILE))


if __name__ == "__main__":
    asked = tuple(Path(name).resolve().relative_to(ROOT).as_posix() for name in sys.argv[1:])
    for path in SOURCES:
        for finding in findings_of(path) if path.startswith(asked) else []:
            print(finding)
