"""The shape of the house: which room may know which, and what no room may become."""

from __future__ import annotations

import ast
import configparser
import functools
import re
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

import cyclegan
from tests.support.programs import modules_loaded_by

PACKAGE = Path(cyclegan.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))
BESIDE = [path for folder in ("scripts", "benchmarks", "tests/soak") for path in (ROOT / folder).rglob("*.py")]
NEVER_INSTALLED = {"benchmarks", "scripts", "tests"}

# Room -> the rooms it may import. A room is a module or a package directly below `cyclegan`; what stands here is the
# whole truth, so a room that is not named may not exist. Arrows that follow from others (training may use everything
# that its own rooms are built of) are not implied: each is written down.
GROUND = {"config", "directions", "errors", "figures", "system"}
MAY_IMPORT: dict[str, set[str]] = {
    # Known to everyone and knowing nobody, but for the one sentence that an error is
    "errors": set(),
    "figures": {"directions"},
    "config": {"errors"},
    "system": {"errors"},
    "directions": {"errors"},
    # Those that stand on the ground alone, so that each can be understood, and thrown out, by itself
    "networks": GROUND,
    "losses": GROUND,
    "images": GROUND,
    "tracking": GROUND,
    # What a run has written down, as pages: on any machine, without torch
    "report": {"config", "directions", "errors", "figures", "system", "tracking"},
    # What is built of them
    "data": GROUND | {"images"},
    "methods": GROUND | {"networks", "losses"},
    "models": GROUND | {"networks"},
    "translation": GROUND | {"networks", "models", "images"},
    "evaluation": GROUND | {"networks", "images", "data", "models", "translation"},
    "training": GROUND | {"networks", "methods", "data", "images", "models", "translation", "evaluation", "tracking"},
    # The surface. Its imports are those of `cyclegan train --help`, which lists the tables of the rooms.
    "cli": GROUND
    | {
        "networks",
        "losses",
        "images",
        "data",
        "methods",
        "models",
        "translation",
        "evaluation",
        "report",
        "tracking",
        "training",
    }
    | {"cyclegan"},  # the version
    "cyclegan": {"config", "training", "translation"},  # the three names of the Python interface, on first use
    "__main__": {"cli"},
}

TABLES = {"method", "generator", "discriminator", "adversarial", "reconstruction"}
TABLES |= {"norm", "upsampling", "init", "metric", "preset"}
MOST_ENTRIES = 14  # files and sub-packages in a folder of the package, but for the top
# Files under 60 lines with one importer that stay apart: tables and null objects need no entry here
SMALL = {
    "__main__.py": "entry point",
    "tracking/__main__.py": "entry point",
    "images/formats/jpeg2000.py": "entry of FORMATS",
    "cli/import_junyanz.py": "command",
    "cli/report.py": "command",
    "cli/sync.py": "command",
    "cli/data/demo.py": "command",
    "cli/data/demo_score.py": "command",
    "training/distributed/sync_batchnorm.py": "layer",
    "training/loop_io/metrics.py": "flat loop",
    "training/evaluation/sharded.py": "processes",  # the rest of periodic evaluation knows of one
    "training/storage/disk_space.py": "flat loop",
}
# Files that may name CycleGAN's two directions by their letters: the default key, the family's own, the layout
# of the reference implementation, the demo, older files without a list of domains, and a mode of `open`
TWO_WAY = {"directions.py", "methods/cyclegan.py", "models/export/junyanz.py", "cli/data/demo_score.py", "cli/info.py"}
TWO_WAY |= {"tracking/wandb_launcher.py"}
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "misc", "tools"}
NULL_OBJECT = re.compile("Null|Silent|SingleProcess|No[A-Z]")


@functools.cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file, for all tests that go through it."""
    return ast.parse(path.read_text())


def room(path: Path) -> str:
    """The room a file of the package belongs to."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "cyclegan" if first == "__init__" else first


def imported_names(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every import, at any level, of the package or of the folders beside it.

    What is imported from a module is named as if it were a module of its own: `cyclegan.errors.UsageError`; so is an
    import that does not give the whole name.
    """
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.partition(".")[0] in {"cyclegan", *NEVER_INSTALLED})


def imported_rooms(path: Path) -> Iterator[tuple[int, str]]:
    """Line and room of every import of a file; folders beside the package count as rooms."""
    for line, name in imported_names(path):
        package, _, inner = name.partition(".")
        # `from cyclegan import networks` names a room too, `from cyclegan import __version__` does not
        first = inner.partition(".")[0] or "cyclegan"
        yield line, (first if first in MAY_IMPORT else "cyclegan") if package == "cyclegan" else package


def module_paths() -> dict[str, Path]:
    """The file of each module, by its full name."""
    names = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in MODULES}
    return {name.removesuffix(".__init__"): path for name, path in names.items()}


@functools.cache
def imports_of_modules() -> dict[str, set[str]]:
    """Module -> the modules of ours that it names in an import, wherever that stands."""
    paths = module_paths()
    return {
        here: {name if name in paths else name.rpartition(".")[0] for _, name in imported_names(path)}
        for here, path in paths.items()
    }


def crowded(root: Path) -> dict[str, int]:
    """Folders below `root`, which is exempt, that have more entries than there may be, and how many."""
    entries: dict[Path, int] = {}
    for path in root.rglob("*.py"):
        entry = path.parent if path.name == "__init__.py" else path
        entries[entry.parent] = entries.get(entry.parent, 0) + 1
    return {
        str(path.relative_to(root)): count
        for path, count in entries.items()
        if root in path.parents and count > MOST_ENTRIES
    }


def class_names(path: Path) -> list[str]:
    """Every class that a file defines, private and inner ones too."""
    return [node.name for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef)]


def in_circles(arrows: dict[str, set[str]]) -> set[str]:
    """Nodes of a graph that remain after removing sinks and then sources, again and again."""
    left = set(arrows)
    while free := {name for name in left if not arrows[name] & left}:
        left -= free
    while free := left - {other for name in left for other in arrows[name]}:
        left -= free
    return left


def comparisons(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every test of something that is called like a table against a string constant."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            others = [part for side in sides if not _called_like_a_table(side) for part in ast.walk(side)]
            text = any(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in others)
            if text and any(_called_like_a_table(side) for side in sides):
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Match) and _called_like_a_table(node.subject):
            yield node.lineno, f"match {ast.unparse(node.subject)}"
        elif isinstance(node, ast.Attribute) and node.attr == "startswith" and _called_like_a_table(node.value):
            yield node.lineno, ast.unparse(node)


def _called_like_a_table(node: ast.expr) -> bool:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(value=str(name))):
            return name.removesuffix("_name") in TABLES
    return False


def without_docstring(path: Path) -> Iterator[str]:
    """Public modules, classes and functions of a file that have no docstring and need one.

    Null objects, properties, states, and methods of classes with a base (whose contract is documented there) need none.
    """
    tree = parsed(path)
    if tree.body and ast.get_docstring(tree) is None:
        yield str(path)
    for node in (node for node in _public(tree) if not NULL_OBJECT.match(node.name)):
        if ast.get_docstring(node) is None:
            yield f"{path}:{node.lineno} {node.name}"
        if isinstance(node, ast.ClassDef) and not node.bases:
            silent = [member for member in _public(node) if ast.get_docstring(member) is None]
            yield from (f"{path}:{member.lineno} {node.name}.{member.name}" for member in silent)


def _public(tree: ast.Module | ast.ClassDef) -> list[ast.FunctionDef | ast.ClassDef]:
    defined = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return [node for node in defined if not node.name.startswith("_") and not _exempt(node)]


def _exempt(node: ast.FunctionDef | ast.ClassDef) -> bool:
    if node.name in {"state_dict", "load_state_dict"}:  # see `HasState`
        return True
    return any(ast.unparse(item).endswith(("overload", "property")) for item in node.decorator_list)


def test_imports_run_one_way() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} {other}"
        for path in MODULES
        for line, other in imported_rooms(path)
        if other not in MAY_IMPORT.get(room(path), set()) | {room(path)}
    ]
    assert not wrong, f"rooms that MAY_IMPORT does not allow: {wrong}"


def test_imports_that_are_not_allowed_would_be_found(tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    file.write_text("from tests.soak import rig\nimport benchmarks\nfrom . import cli\nfrom cyclegan import networks\n")
    assert list(imported_rooms(file)) == [(1, "tests"), (2, "benchmarks"), (3, "a relative import"), (4, "networks")]


def test_nothing_but_the_package_is_installed() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    wanted = config["options.packages.find"]["include"].split()
    beside = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert {name for name in beside if any(fnmatch(name, pattern) for pattern in wanted)} == {"cyclegan"}
    assert {"benchmarks", "tests"} <= beside


def test_the_table_of_imports_has_no_circle_and_no_room_that_is_not_there() -> None:
    new = {room(path) for path in MODULES} - MAY_IMPORT.keys()
    assert not new, f"new rooms: say in MAY_IMPORT, and in docs/architecture.md, what they may know: {new}"
    assert not MAY_IMPORT.keys() - {room(path) for path in MODULES}
    tops = ("cyclegan", "cli", "__main__")
    assert not in_circles({name: others - {*tops} for name, others in MAY_IMPORT.items() if name not in tops})


def test_no_modules_import_each_other_in_a_circle() -> None:
    """At any level of the code. The implicit import of a module's package is no edge unless it is named."""
    assert not in_circles(imports_of_modules())


def test_a_circle_would_be_found() -> None:
    arrows = {"top": {"a"}, "a": {"b", "errors"}, "b": {"c"}, "c": {"a", "errors"}, "errors": {"os"}}
    assert in_circles(arrows) == {"a", "b", "c"}


def test_nobody_imports_the_command_line() -> None:
    assert [name for name, others in MAY_IMPORT.items() if "cli" in others] == ["__main__"]


def test_no_file_is_over_450_lines_and_the_loop_not_over_250() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in [*MODULES, *BESIDE]}
    assert not {str(path): length for path, length in lengths.items() if length > 450}
    assert lengths[PACKAGE / "training" / "loop.py"] <= 250


def test_no_folder_but_the_top_has_more_than_14_entries() -> None:
    assert not crowded(PACKAGE)


def test_a_crowded_folder_would_be_found(tmp_path: Path) -> None:
    for name in ["__init__.py", "sub/__init__.py", *(f"{number}.py" for number in range(14))]:
        (tmp_path / "room" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "room" / name).touch()
    for number in range(20):
        (tmp_path / f"{number}.py").touch()
    assert crowded(tmp_path) == {"room": 15}


def test_a_class_name_occurs_once_in_the_package() -> None:
    files: dict[str, list[str]] = {}
    for path in MODULES:
        for name in class_names(path):
            files.setdefault(name, []).append(str(path.relative_to(PACKAGE)))
    assert not {name: where for name, where in files.items() if len(where) > 1}


def of_two_domains(tree: ast.Module) -> set[str]:
    """The letters of two directions, and the options of folders, that a file holds as names or as whole strings."""
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    names = {getattr(node, "id", None) or getattr(node, "attr", None) for node in ast.walk(tree)}
    return (strings & {"ab", "ba"}) | ((strings | names) & {"train_a", "train_b", "test_a", "test_b"})


def test_two_domains_are_known_to_the_method_that_has_them_alone() -> None:
    found = {str(path.relative_to(PACKAGE)): of_two_domains(ast.parse(path.read_text())) for path in MODULES}
    assert {name for name, letters in found.items() if letters} <= TWO_WAY | {"config/train_config.py"}
    assert of_two_domains(ast.parse('x = sets.train_a, "ba"')) == {"train_a", "ba"}


def test_no_short_file_has_a_single_importer_without_a_reason() -> None:
    importers = Counter(name for here, others in imports_of_modules().items() for name in others - {here})
    short = {
        str(path.relative_to(PACKAGE))
        for name, path in module_paths().items()
        if path.name != "__init__.py" and importers[name] <= 1 and len(path.read_text().splitlines()) < 60
    }
    short = {name for name in short if not name.endswith("/registry.py")}
    assert short <= SMALL.keys(), "merge a short file into its only importer, or give a reason in SMALL"
    assert not [name for name in SMALL if not (PACKAGE / name).exists()]


def test_no_code_asks_for_the_name_of_a_table_entry() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line} {text}" for path in MODULES for line, text in comparisons(parsed(path))
    ]
    assert not found, f"variation lives in the objects of a table, not in an if beside it: {found}"


def test_asking_for_a_name_would_be_found() -> None:
    found = """
if method == "cut": pass
elif config.norm != "batch": pass
x = 1 if self.generator in ("unet_128", "unet_256") else 2
if "hinge" == adversarial: pass
if spec["norm"] == "batch": pass
if config.generator.startswith("unet"): pass
match args.discriminator:
    case "pixel": pass
"""
    allowed = 'if config.wandb == "auto" or method is None or method == other or spec["norm"] in NORMS: pass'
    assert sorted(line for line, _ in comparisons(ast.parse(found))) == [2, 3, 4, 5, 6, 7, 8]
    assert not list(comparisons(ast.parse(allowed)))


def test_every_room_has_a_name() -> None:
    names = {path.stem for path in MODULES} | {path.parent.name for path in MODULES}
    assert not names & FORBIDDEN_NAMES


def test_everything_public_says_what_it_is() -> None:
    assert not [entry for path in MODULES for entry in without_docstring(path)]


@pytest.mark.process
@pytest.mark.parametrize(
    "code",
    [
        "import cyclegan.cli",
        "from cyclegan.cli import cli; cli(['--help'], standalone_mode=False)",
        "import cyclegan; cyclegan.TrainConfig()",
    ],
)
def test_the_command_line_answers_before_anything_heavy_is_loaded(code: str) -> None:
    assert not modules_loaded_by(code) & {"torch", "numpy", "albumentations", "wandb", "PIL", "cv2", "yaml", "rich"}


@pytest.mark.process
def test_to_look_at_a_run_neither_torch_nor_a_model_is_loaded() -> None:
    loaded = modules_loaded_by("import cyclegan.report, cyclegan.report.charts, cyclegan.report.images")
    assert {"cyclegan.report", "matplotlib"} <= loaded
    assert not loaded & {"torch", "albumentations", "wandb", "cv2", "cyclegan.models", "matplotlib.pyplot"}
    assert not modules_loaded_by("import cyclegan.report") & {"matplotlib", "jinja2"}  # the extra, which may be missing


@pytest.mark.process
def test_to_translate_nothing_is_loaded_that_only_training_needs() -> None:
    loaded = modules_loaded_by("import cyclegan.translation")
    assert "cyclegan.models" in loaded
    assert not {name for name in loaded if name.startswith(("cyclegan.training", "cyclegan.methods", "cyclegan.data"))}
    assert not loaded & {"albumentations", "wandb", "cv2"}
