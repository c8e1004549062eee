"""What is installed is what lies in the tree, and it works away from the repository."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from source_tree import ROOT, configuration, listed, packages, rooms

NOT_SOURCES = shutil.ignore_patterns(
    ".git",
    ".venv",
    "__pycache__",
    "*.egg-info",
    "build",
    "dist",
    "results",
    ".*_cache",
    ".hypothesis",
)
# Torch, readers and plots take seconds to load; a person who asks for help waits for none of them.
SLOW_TO_IMPORT = (
    "torch",
    "xarray",
    "pandas",
    "pynwb",
    "matplotlib",
    "scipy",
    "h5netcdf",
    "sklearn",
)


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command elsewhere, and return what it printed; its error output is the failure."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(kind: str, source: Path, out: Path) -> Path:
    """Build a wheel or an sdist of `source` in the environment of the tests, without a download."""
    run(sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "-o", out, source, cwd=out)
    (built,) = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


@pytest.fixture(scope="session")
def clean_copy(tmp_path_factory) -> Path:
    """The sources without leftovers: an old build folder would end up in the wheel."""
    return shutil.copytree(
        ROOT, tmp_path_factory.mktemp("sources") / "neuromodels", ignore=NOT_SOURCES
    )


@pytest.fixture(scope="session")
def wheel(clean_copy, tmp_path_factory) -> Path:
    return build("wheel", clean_copy, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def names_in_wheel(wheel) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="session")
def installed_elsewhere(wheel, tmp_path_factory) -> Path:
    """A folder outside the repository that holds the installed wheel and nothing else."""
    folder = tmp_path_factory.mktemp("elsewhere")
    run(
        *(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target"),
        *(folder, wheel),
        cwd=folder,
    )
    return folder


def files_to_install() -> set[str]:
    """Paths inside a wheel of all files of the packages: code, presets, the bundled recording."""
    return {
        f"{name.replace('.', '/')}/{file.name}"
        for name, folder in packages().items()
        for file in folder.iterdir()
        if file.is_file() and not file.name.startswith(".")
    }


def test_setup_cfg_lists_the_packages_of_the_tree():
    assert sorted(listed("options", "packages")) == sorted(packages())


def test_every_folder_with_code_is_a_package():
    folders = {file.parent for folder in rooms().values() for file in folder.rglob("*.py")}
    assert folders == set(packages().values())


def test_no_room_hides_inside_the_folder_of_the_models():
    for name, folder in rooms().items():
        if name.count(".") == 1 and folder.parent == ROOT:
            assert not (ROOT / "neuromodels" / folder.name).exists()


def test_wheel_holds_every_file_of_the_packages_and_no_others(names_in_wheel):
    installed = {name for name in names_in_wheel if ".dist-info/" not in name}
    assert installed == files_to_install()


def test_wheel_installs_one_top_level_name(names_in_wheel):
    tops = {name.split("/")[0] for name in names_in_wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"neuromodels"}


def test_wheel_holds_the_bundled_recording_its_licence_and_the_presets(names_in_wheel):
    sample = "neuromodels/datasets/sample"
    assert f"{sample}/moving_bars.h5" in names_in_wheel
    assert f"{sample}/LICENSE" in names_in_wheel
    assert any(name.endswith(".toml") for name in names_in_wheel)


def test_wheel_is_a_small_download(wheel):
    assert wheel.stat().st_size < 10e6


def test_wheel_has_the_licence_and_the_command(wheel):
    archive = zipfile.ZipFile(wheel)
    (folder,) = {n.split("/")[0] for n in archive.namelist() if ".dist-info/" in n}
    assert b"MIT License" in archive.read(f"{folder}/licenses/LICENSE")
    assert b"neuromodels = neuromodels.cli:main" in archive.read(f"{folder}/entry_points.txt")


def test_sdist_builds_the_same_wheel(clean_copy, names_in_wheel, tmp_path):
    sdist = build("sdist", clean_copy, tmp_path)
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert {file.name for file in unpacked.iterdir()} > {"Makefile", "constraints.txt", "tests"}
    out = tmp_path / "wheel"
    out.mkdir()
    again = build("wheel", unpacked, out)
    assert set(zipfile.ZipFile(again).namelist()) == names_in_wheel


def test_installed_wheel_opens_the_bundled_recording_away_from_the_repository(
    installed_elsewhere, tmp_path
):
    script = """
        import neuromodels as nm
        print(nm.__file__)
        recording = nm.sample_recording()
        print(*recording.stimuli, len(recording.neurons))
    """
    printed = run(
        *(sys.executable, "-c", textwrap.dedent(script)),
        cwd=tmp_path,
        PYTHONPATH=str(installed_elsewhere),
    )
    origin, contents = printed.splitlines()
    assert Path(origin).is_relative_to(installed_elsewhere)
    assert contents == "moving_bars 6"


def test_installed_wheel_lists_its_models_away_from_the_repository(installed_elsewhere, tmp_path):
    printed = run(
        *(sys.executable, "-m", "neuromodels", "models"),
        cwd=tmp_path,
        PYTHONPATH=str(installed_elsewhere),
    )
    assert {"ln", "glm", "retina-cnn"} <= set(re.findall(r"[\w-]+", printed))


# The import statements are timed inside a new process, so that the start of Python does not count.
IMPORT = "import neuromodels"
HELP = """
from neuromodels.cli import main
sys.argv = ["neuromodels", "--help"]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
"""


@pytest.mark.parametrize(
    ("statement", "limit"), [(IMPORT, 0.5), (HELP, 1.0)], ids=["import", "help"]
)
def test_import_and_help_answer_at_once(statement, limit, tmp_path):
    script = "\n".join(
        [
            "import sys, time",
            "start = time.perf_counter()",
            statement,
            "print()",
            "print(time.perf_counter() - start)",
            f"print(*sorted(set(sys.modules) & set({SLOW_TO_IMPORT!r})), sep=',')",
        ]
    )
    seconds = []
    for _ in range(3):  # the fastest of three: a busy machine is no fault of the package
        *_, took, loaded = run(sys.executable, "-c", script, cwd=tmp_path).splitlines()
        assert loaded == ""
        seconds.append(float(took))
    assert min(seconds) < limit


def test_the_command_is_installed_and_explains_itself(tmp_path):
    command = Path(sys.executable).parent / "neuromodels"
    printed = run(command, "--help", cwd=tmp_path)
    assert {"demo", "inspect", "models", "fit", "compare", "predict"} <= set(
        re.findall(r"[\w-]+", printed)
    )


def constraints() -> dict[str, Requirement]:
    """The pins of constraints.txt by name."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in pins}


def requirements(extra: str = "") -> list[Requirement]:
    """The requirements in setup.cfg of the package, or of one of its extras."""
    section, key = ("options.extras_require", extra) if extra else ("options", "install_requires")
    return [Requirement(line) for line in listed(section, key)]


def needed_by(direct: list[Requirement]) -> set[str]:
    """Names of all distributions that these requirements bring along here.

    What a parent requires in exactly one version needs no pin of ours (the CUDA libraries of
    torch on Linux), so it is left out.
    """
    needed, waiting = set(), list(direct)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in needed or (
            requirement.marker and not requirement.marker.evaluate({"extra": ""})
        ):
            continue
        needed.add(name)
        for line in importlib.metadata.requires(name) or ():
            indirect = Requirement(line)
            if not any(bound.operator == "==" for bound in indirect.specifier):
                waiting.append(indirect)
    return needed


def test_everything_that_is_installed_has_one_pin_in_the_constraints():
    pins = constraints()
    everything = requirements() + requirements("test") + requirements("lint")
    assert needed_by(everything) <= set(pins)
    assert all([bound.operator for bound in pin.specifier] == ["=="] for pin in pins.values())


def test_pins_keep_the_bounds_of_setup_cfg():
    pins = constraints()
    for requirement in requirements() + requirements("test") + requirements("lint"):
        (pin,) = pins[canonicalize_name(requirement.name)].specifier
        assert requirement.specifier.contains(pin.version), requirement


def test_setup_cfg_pins_no_version():
    for requirement in requirements() + requirements("test") + requirements("lint"):
        assert {bound.operator for bound in requirement.specifier} <= {">=", "<"}


def test_the_core_stays_under_eighty_packages():
    assert len(needed_by(requirements())) < 80


def test_one_version_in_all_places():
    version = configuration()["metadata"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {version} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
