"""Where the sources lie, and what setup.cfg says about them; read without importing the package."""

from __future__ import annotations

import configparser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def configuration() -> configparser.ConfigParser:
    """setup.cfg, parsed."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def listed(section: str, key: str) -> list[str]:
    """The lines of a list in setup.cfg, without comments."""
    lines = (line.strip() for line in configuration()[section][key].splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def rooms() -> dict[str, Path]:
    """The folders that setup.cfg maps to installed names, e.g. ``neuromodels.fits`` to ``fits``."""
    mapping = dict(line.split(" = ") for line in listed("options", "package_dir"))
    return {name: ROOT / folder for name, folder in mapping.items()}


def packages() -> dict[str, Path]:
    """Every folder with an ``__init__.py`` in the rooms, by installed name."""
    found = {}
    for name, folder in rooms().items():
        for init in folder.rglob("__init__.py"):
            found[".".join((name, *init.parent.relative_to(folder).parts))] = init.parent
    return found


def modules() -> dict[str, Path]:
    """Every Python file in the rooms, by installed name; a package by its own name."""
    found = {}
    for package, folder in packages().items():
        for file in sorted(folder.glob("*.py")):
            found[package if file.stem == "__init__" else f"{package}.{file.stem}"] = file
    return found
