"""Ways to damage a file: bytes, arrays, tables and HDF5 objects, all from a seed."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

Damage = str  # says what was done


def damage(folder: Path, rng: np.random.Generator) -> Damage:
    """Damage one file somewhere in a folder, and say how."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = files[rng.integers(len(files))]
    kinds = [_bytes, _bytes]
    if h5py.is_hdf5(path):
        kinds += [_hdf5] * 6
    elif path.suffix == ".npy":
        kinds += [_npy] * 4
    elif path.suffix in (".csv", ".tsv", ".toml", ".py", ".txt", ".json"):
        kinds += [_text] * 4
    elif path.suffix == ".mat":
        kinds += [_matlab] * 4
    said = kinds[rng.integers(len(kinds))](path, rng)
    return f"{path.relative_to(folder)}: {said}"


def _bytes(path: Path, rng) -> Damage:
    content = bytearray(path.read_bytes())
    if not content:
        return "nothing to damage"
    kind = rng.integers(4)
    if kind == 0:
        keep = int(rng.integers(len(content)))
        path.write_bytes(content[:keep])
        return f"cut to {keep} of {len(content)} bytes"
    if kind == 3:
        start = int(rng.integers(len(content)))
        content[start : start + 64] = bytes(len(content[start : start + 64]))
        path.write_bytes(content)
        return f"64 zeros from byte {start}"
    places = rng.integers(len(content), size=[1, 1, 16][kind])
    if kind == 1:  # the beginning holds what describes the rest
        places = rng.integers(min(len(content), 4096), size=1)
    for place in places:
        content[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)
    return f"bits flipped in bytes {places.tolist()}"


def wrong_array(values: np.ndarray, rng) -> tuple[np.ndarray, Damage]:
    """An array with something wrong in it."""
    kind = rng.integers(9)
    flat = values.astype(np.float64).ravel() if values.dtype.kind in "iufb" else None
    if flat is None or kind == 0 or not flat.size:
        choice = rng.integers(4)
        shape = values.shape
        made = [
            np.full(shape, b"text", dtype="S4"),
            np.ones(shape, dtype=np.complex128),
            np.zeros(shape, dtype=bool),
            np.zeros(shape, dtype=[("a", "<i4"), ("b", "<f8")]),
        ][choice]
        return made, f"type {made.dtype}"
    if kind == 1:
        n = int(rng.integers(0, 3) * max(1, len(values) // 2)) if values.ndim else 0
        return np.resize(values, (n, *values.shape[1:])), f"length {n}"
    if kind == 2:
        axis = int(rng.integers(values.ndim)) if values.ndim else 0
        shape = list(values.shape) or [1]
        shape[axis] = 0
        return np.zeros(shape, values.dtype), f"shape {shape}"
    if kind == 3:
        return values.reshape(-1), "one axis"
    if kind == 4:
        return values[..., None], "one axis more"
    place = rng.integers(flat.size, size=min(3, flat.size))
    flat[place] = [np.nan, np.inf, -np.inf, -1.0, 1e300][kind - 5 if kind < 9 else 0]
    if rng.random() < 0.4:
        rng.shuffle(flat)
        return flat.reshape(values.shape), "shuffled, and an impossible value"
    return flat.reshape(values.shape), f"{flat[place[0]]} at {place.tolist()}"


def _npy(path: Path, rng) -> Damage:
    kind = rng.integers(4)
    if kind == 0:
        np.save(path, np.array([1, "a", None], dtype=object), allow_pickle=True)
        return "object array"
    if kind == 1:
        with path.open("wb") as file:
            header = {"descr": "<f8", "fortran_order": False, "shape": (10**12, 10**3)}
            np.lib.format.write_array_header_1_0(file, header)
        return "declares 10^15 numbers"
    try:
        values = np.load(path, allow_pickle=False)
    except ValueError:
        return "was damaged already"
    values, said = wrong_array(values, rng)
    np.save(path, values)
    return said


def _text(path: Path, rng) -> Damage:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    i = int(rng.integers(len(lines)))
    kind = rng.integers(5)
    if kind == 0:
        del lines[i]
    elif kind == 1:
        lines.insert(i, lines[i])
    elif kind == 2:
        lines[i] = lines[i].replace(",", ";").replace("\t", " ").replace("=", ":")
    elif kind == 3:
        lines[i] = ["nan", "−1", "__import__('os')", "'../../etc/passwd',0", "🐭" * 50][
            rng.integers(5)
        ]
    else:
        digits = [j for j, c in enumerate(lines[i]) if c.isdigit()]
        if digits:
            j = digits[rng.integers(len(digits))]
            lines[i] = lines[i][:j] + ["-", "x", "e999", "nan"][rng.integers(4)] + lines[i][j + 1 :]
    path.write_text("\n".join(lines), encoding="utf-8")
    return f"line {i} changed ({kind})"


def _matlab(path: Path, rng) -> Damage:
    from scipy.io import loadmat, savemat

    try:
        content = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
    except Exception:  # it was damaged before
        return "was damaged already"
    name = sorted(content)[rng.integers(len(content))]
    if rng.random() < 0.2:
        del content[name]
        said = "removed"
    elif rng.random() < 0.2:
        content[name] = {"a": 1, "b": [1, "x"]}
        said = "a struct"
    else:
        content[name], said = wrong_array(content[name], rng)
        if content[name].dtype.names:
            content[name] = np.zeros(3, dtype=complex)
    savemat(path, content)
    return f"{name}: {said}"


def _hdf5(path: Path, rng) -> Damage:
    try:
        with h5py.File(path, "r+") as file:
            names: list[str] = []
            file.visit(names.append)
            if not names:
                return "empty"
            name = names[rng.integers(len(names))]
            return f"/{name} {_hdf5_object(file, name, rng)}"
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        return f"could not be damaged further ({type(error).__name__})"


def _hdf5_object(file: h5py.File, name: str, rng) -> Damage:
    item, kind = file[name], rng.integers(10)
    if kind == 0:
        del file[name]
        return "removed"
    if kind == 1 and len(item.attrs):
        key = sorted(item.attrs)[rng.integers(len(item.attrs))]
        value = [np.nan, "text", np.zeros(3), b"\xff\xfe", -1][rng.integers(5)]
        del item.attrs[key]
        if rng.random() < 0.7:
            item.attrs[key] = np.void(value) if isinstance(value, bytes) else value
        return f"attribute {key} changed"
    if kind == 2:
        del file[name]
        link = [
            h5py.SoftLink("/nowhere"),
            h5py.ExternalLink("../../other.h5", "/secret"),
            h5py.SoftLink(f"/{name}"),
            file["/"],
        ][rng.integers(4)]
        file[name] = link
        return f"a link ({type(link).__name__})"
    if kind == 3:
        file.move(name, f"{name}_µ🐭\u202e")
        return "renamed"
    if kind == 4 or isinstance(item, h5py.Group):
        del file[name]
        if rng.random() < 0.5:
            file.create_group(name)
            return "a group"
        file[name] = np.arange(3)
        return "a short array"
    if kind == 5:
        dtype = item.dtype if item.dtype.kind in "iuf" else np.float32
        shape = tuple(10 ** (5 - min(4, item.ndim)) * 10**3 for _ in range(max(1, item.ndim)))
        attrs = dict(item.attrs) if not any("LIST" in k for k in item.attrs) else {}
        del file[name]
        made = file.create_dataset(name, shape, dtype, chunks=True)
        for key, value in attrs.items():
            made.attrs[key] = value
        return f"declares {shape}"
    values, said = wrong_array(np.asarray(item[()]), rng)
    attrs = {k: v for k, v in item.attrs.items() if "LIST" not in k}
    del file[name]
    file[name] = values
    for key, value in attrs.items():
        file[name].attrs[key] = value
    return said
