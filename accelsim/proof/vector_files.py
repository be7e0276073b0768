"""Golden vectors on disk: .npz, $readmemh, a C header, and a JSON manifest with coverage and mutation score."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.files import write_atomically
from accelsim.proof.golden import GoldenVectors
from accelsim.proof.mutants import MutationScore, mutation_score
from accelsim.requant import Requantizer

FORMAT = "accelsim-vectors-1"
#: width of a word in the $readmemh files; codes and accumulators are two's complement
_MEM_BITS = {"accumulator": 48, "rounded": 48, "code": 32, "which": 16}


def write_vectors(vectors: GoldenVectors, folder: Path | str, name: str = "requantizer") -> MutationScore:
    """Write <name>.npz, .json, .h and one .mem file per array into a folder; returns the mutation score.

    AccelsimError where the folder cannot be made or written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AccelsimError(f"cannot make {folder}: {error.strerror}") from None
    arrays = {key: getattr(vectors, key) for key in _MEM_BITS}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomically(folder / f"{name}.npz", buffer.getvalue())
    for key, bits in _MEM_BITS.items():
        mask = 2**bits - 1
        text = "".join(f"{v & mask:0{bits // 4}x}\n" for v in arrays[key].tolist())
        write_atomically(folder / f"{name}_{key}.mem", text)
    write_atomically(folder / f"{name}.h", _header(vectors, name))
    score = mutation_score(vectors)
    manifest = {
        "format": FORMAT,
        "vectors": len(vectors),
        "seed": vectors.seed,
        "requantizers": [plain(r.kwargs()) for r in vectors.requantizers],
        "mem_bits": _MEM_BITS,
        "coverage": vectors.coverage(),
        "mutation_score": score.score,
        "killed": score.killed,
        "survived": score.survived,
        "equivalent": list(score.equivalent),
    }
    write_atomically(folder / f"{name}.json", json.dumps(manifest, indent=2) + "\n")
    return score


def read_vectors(path: Path | str, requantizers: tuple[Requantizer, ...] | None = None) -> GoldenVectors:
    """Vectors from a file of accumulator and code, and which where there are several requantizers.

    .npz: arrays of those names; .csv: whole numbers in columns of those names, comma-separated.

    requantizers: what the codes should come from; default: those of the manifest beside the file. Raises
    AccelsimError naming the file where it is unreadable, malformed, or an accumulator is outside the domain.
    """
    path = Path(path)
    arrays = _columns(path) if path.suffix == ".csv" else _arrays(path)
    missing = [key for key in ("accumulator", "code") if key not in arrays]
    if missing or any(arrays[k].dtype.kind not in "iu" or arrays[k].ndim != 1 for k in ("accumulator", "code")):
        raise AccelsimError(f"{path} needs the 1-D integer arrays accumulator and code; it has {sorted(arrays)}")
    acc, code = arrays["accumulator"].astype(np.int64), arrays["code"].astype(np.int64)
    if acc.shape != code.shape:
        raise AccelsimError(f"{path}: {len(acc)} accumulators but {len(code)} codes")
    given = requantizers or _requantizers(path.with_suffix(".json"))
    which = arrays.get("which", np.zeros(len(acc), np.int64)).astype(np.int64)
    if which.shape != acc.shape or (len(which) and not 0 <= which.min() <= which.max() < len(given)):
        raise AccelsimError(f"{path}: which must number the {len(given)} requantizers, one entry per accumulator")
    for number, requantizer in enumerate(given):
        try:
            requantizer.bound().check(acc[which == number])
        except ValueError as error:
            raise AccelsimError(f"{path}: {error}") from None
    return GoldenVectors(tuple(given), which, acc, arrays.get("rounded", code).astype(np.int64), code, 0)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError) as error:
        raise AccelsimError(f"{path} is not an .npz file of plain arrays ({error})") from None


def _columns(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AccelsimError(f"cannot read {path}: {error}") from None
    if not rows:
        raise AccelsimError(f"{path} is empty: the first line names the columns, accumulator,code")
    names = [name.strip() for name in rows[0]]
    values: list[list[int]] = []
    for number, row in enumerate(rows[1:], 2):
        try:
            values.append([int(cell, 0) for cell in row])
        except ValueError as error:
            raise AccelsimError(f"{path}, line {number}: {error}") from None
        if len(row) != len(names):
            raise AccelsimError(f"{path}, line {number}: {len(row)} numbers in {len(names)} columns")
    table = np.array(values, np.int64).reshape(len(values), len(names))
    return {name: table[:, i] for i, name in enumerate(names)}


def _requantizers(manifest: Path) -> tuple[Requantizer, ...]:
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise AccelsimError(f"{manifest}: its format is not {FORMAT!r}")
        return tuple(_requantizer(fields) for fields in content["requantizers"])
    except OSError:
        raise AccelsimError(f"no manifest {manifest}: say which requantizer the codes come from") from None
    except (ValueError, KeyError, TypeError) as error:
        raise AccelsimError(f"{manifest}: malformed manifest: {error}") from None


def _requantizer(fields: Mapping[str, Any]) -> Requantizer:
    rest = dict(fields)
    limits = {k: rest.pop(k) for k in ("zero_point", "qmin", "qmax")}
    return Requantizer(rest.pop("scheme"), rest, **limits)


def plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays as lists, for JSON."""
    return {k: v.tolist() if isinstance(v, (np.ndarray, np.generic)) else v for k, v in fields.items()}


def _header(vectors: GoldenVectors, name: str) -> str:
    guard = f"ACCELSIM_{name.upper()}_H"
    lines = [f"/* {len(vectors)} golden vectors; seed {vectors.seed} */", f"#ifndef {guard}", f"#define {guard}",
             "#include <stdint.h>", f"#define {name.upper()}_COUNT {len(vectors)}"]  # fmt: skip
    for number, requantizer in enumerate(vectors.requantizers):
        lines.append(f"/* requantizer {number}: {requantizer.scheme} {dict(requantizer.params)} */")
    for key, kind in (("accumulator", "int64_t"), ("code", "int32_t"), ("which", "uint16_t")):
        values = getattr(vectors, key).tolist()
        suffix = "LL" if kind == "int64_t" else ""
        lines.append(f"static const {kind} {name}_{key}[{len(values)}] = {{")
        lines += ["  " + ", ".join(f"{v}{suffix}" for v in values[i : i + 8]) + "," for i in range(0, len(values), 8)]
        lines.append("};")
    return "\n".join([*lines, f"#endif /* {guard} */", ""])
