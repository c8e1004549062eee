"""The order of the rooms: models and recordings, then analysis, then fits, then the public face.

Read from the source with `ast`, so that imports inside functions count as well and nothing is run.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from source_tree import modules, rooms

MODULES = modules()

# The public face may import everything; every other room names what it may look at.
MAY_IMPORT = {
    "datasets": {"datasets"},
    "models": {"models"},
    "analysis": {"analysis", "datasets", "models"},
    "fits": {"fits", "analysis", "datasets", "models"},
    "face": {"face", "fits", "analysis", "datasets", "models"},
}

# What a person waits for: none of it may load with `import neuromodels` or `neuromodels --help`.
HEAVY = {"torch", "xarray", "pandas", "scipy", "sklearn", "h5netcdf", "numba", "brian2", "snntorch"}
# Needed by few calls, so imported inside the functions that need them.
INSIDE_FUNCTIONS = {"pynwb", "hdmf", "matplotlib", "brian2", "snntorch", "nir", "pyspike"}


def room_of(module: str) -> str:
    """The room of an installed name."""
    first, second, *_ = [*module.split("."), "", ""]
    assert first == "neuromodels", module
    if second in ("datasets", "analysis", "fits"):
        return second
    return "face" if second in ("", "__main__", "cli") else "models"


def imported_names(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """Absolute names in all import statements of `tree`, those inside functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parts, base] if base else parts)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def at_import_time(tree: ast.Module) -> ast.Module:
    """The same module without the bodies of functions and of `if TYPE_CHECKING`."""

    class Strip(ast.NodeTransformer):
        def visit_FunctionDef(self, _node):
            return None

        visit_AsyncFunctionDef = visit_FunctionDef

        def visit_If(self, node):
            if "TYPE_CHECKING" in ast.unparse(node.test):
                node.body = []
            return self.generic_visit(node)

    return Strip().visit(tree)


def module_in(name: str, known: Callable[[str], bool]) -> str | None:
    """The longest leading part of an imported name that is a module of ours."""
    while name and not known(name):
        name = name.rpartition(".")[0]
    return name or None


def imports_of(module: str, file: Path, *, only_at_import_time: bool = False) -> set[str]:
    """Names of modules that a file imports: ours in full, the others by their top-level name."""
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    if only_at_import_time:
        tree = at_import_time(tree)
    names = imported_names(tree, module, is_package=file.name == "__init__.py")
    return {module_in(name, MODULES.__contains__) or name.split(".")[0] for name in names}


def loaded_with(module: str) -> set[str]:
    """All that importing a module loads: its parents, and what these and it import in turn."""
    loaded, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name in loaded:
            continue
        loaded.add(name)
        if name in MODULES:
            waiting += imports_of(name, MODULES[name], only_at_import_time=True)
            waiting += [name.rpartition(".")[0]] if "." in name else []
    return loaded


def upward_imports(module: str, file: Path) -> list[str]:
    """Imports of a room that this module's room may not look at."""
    allowed = MAY_IMPORT[room_of(module)]
    ours = {name for name in imports_of(module, file) if name in MODULES}
    return sorted(name for name in ours if room_of(name) not in allowed)


@pytest.mark.parametrize("module", MODULES)
def test_no_import_runs_upward(module):
    assert upward_imports(module, MODULES[module]) == []


@pytest.mark.parametrize("module", MODULES)
def test_rooms_are_imported_by_their_installed_name(module):
    folders = {folder.name for name, folder in rooms().items() if name.count(".") == 1}
    assert imports_of(module, MODULES[module]).isdisjoint(folders - {"encoding"})


def test_no_circle_among_imports_that_run_when_a_module_loads():
    graph = {
        module: {
            name
            for name in imports_of(module, file, only_at_import_time=True)
            if name in MODULES and name != module
        }
        for module, file in MODULES.items()
    }
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("module", [name for name in MODULES if room_of(name) == "datasets"])
def test_recordings_never_need_torch(module):
    assert "torch" not in imports_of(module, MODULES[module])
    assert "torch" not in loaded_with(module)


@pytest.mark.parametrize("module", [name for name in MODULES if room_of(name) == "analysis"])
def test_analysis_loads_without_torch(module):
    assert "torch" not in loaded_with(module)


@pytest.mark.parametrize("module", [name for name in MODULES if room_of(name) == "face"])
def test_the_public_face_loads_nothing_heavy(module):
    assert loaded_with(module).isdisjoint(HEAVY | INSIDE_FUNCTIONS)


@pytest.mark.parametrize("module", MODULES)
def test_readers_and_plots_are_imported_inside_functions(module):
    at_top = imports_of(module, MODULES[module], only_at_import_time=True)
    assert at_top.isdisjoint(INSIDE_FUNCTIONS)


@pytest.mark.parametrize(
    "source",
    [
        "import neuromodels.fits",
        "from neuromodels import fits",
        "from ..fits import glm",
        "def late():\n    from neuromodels.fits.glm import anything",
        "import neuromodels as nm",
    ],
)
def test_the_check_itself_sees_an_upward_import(tmp_path, source):
    file = tmp_path / "invented.py"
    file.write_text(source)
    assert upward_imports("neuromodels.analysis.invented", file) != []


def test_the_check_itself_tells_import_time_from_call_time(tmp_path):
    file = tmp_path / "invented.py"
    file.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import xarray\n"
        "else:\n    import numpy\n"
        "class Open:\n    import h5py\n    def now(self):\n        import torch\n"
    )
    names = imports_of("neuromodels.datasets.invented", file, only_at_import_time=True)
    assert names == {"typing", "numpy", "h5py"}
    assert {"torch", "xarray"} < imports_of("neuromodels.datasets.invented", file)
