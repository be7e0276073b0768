"""Certificates: what was proved, written down so that anyone can prove it again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from accelsim.errors import AccelsimError
from accelsim.files import write_atomically
from accelsim.proof.equivalence import Proof, prove, requantizer_of
from accelsim.versions import versions

FORMAT = "accelsim-proof-1"
_RESULT = ("equal", "method", "differing", "visible", "counterexamples")
#: what proving again must give as it is written
_STATED = ("a", "b", "domain", "request", "result")


@dataclass(frozen=True)
class Recheck:
    """The outcome of recheck(): confirmed, or what does not hold (one line each).

    notes: what is no error but worth knowing, e.g. that another version of the definitions made the certificate.
    """

    confirmed: bool
    problems: tuple[str, ...]
    seconds: float
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.confirmed


def save(proof: Proof, path: Any) -> None:
    """Write a proof as JSON: both definitions, domain, method, result, versions.

    AccelsimError where a side is the user's own code, which a certificate cannot hold.
    """
    for side in (proof.a, proof.b):
        if side["kind"] != "scheme":
            raise AccelsimError(f"a certificate needs two named schemes; {side.get('name')} is your own code")
    content = _content(proof)
    content |= {"seconds": proof.seconds, "versions": versions(), "definitions_sha256": definitions_hash()}
    content["sha256"] = _digest(content)
    write_atomically(Path(path), json.dumps(content, indent=2) + "\n")


def recheck(path: Any) -> Recheck:
    """Prove again what a certificate states, offline: sides, domain, request and result must come out as written.

    The file's own checksum shows any other change to it. AccelsimError where the file is no certificate.
    """
    content = _load(Path(path))
    problems, notes = [], []
    if content.get("sha256") != _digest(content):
        problems.append("the file was changed after it was written: its checksum is another")
    if content.get("definitions_sha256") != definitions_hash():
        notes.append("made with other sources of the schemes; what holds was proved with those installed")
    try:
        proof = _again(content)
    except (AttributeError, KeyError, TypeError) as error:
        raise AccelsimError(f"{path}: malformed certificate: {error}") from None
    found = _content(proof)
    for key in _STATED:
        problems += _differences(key, content.get(key), found[key])
    return Recheck(not problems, tuple(problems), proof.seconds, tuple(notes))


def _differences(key: str, stated: Any, found: Any) -> list[str]:
    """One line for every field that is not as stated."""
    if not (isinstance(stated, dict) and isinstance(found, dict)):
        return [] if stated == found else [f"{key}: the certificate states {stated}, this run finds {found}"]
    lines = []
    for field in dict.fromkeys([*found, *stated]):
        lines += _differences(field if key == "result" else f"{key}.{field}", stated.get(field), found.get(field))
    return lines


def definitions_hash() -> str:
    """SHA-256 of the sources that define the schemes."""
    import accelsim_kernels

    folder = Path(accelsim_kernels.__file__).parent
    names = ("names.py", "domain.py", "fixedpoint.py", "schemes.py", "requantize_loops.py")
    digest = hashlib.sha256()
    for name in names:
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def _content(proof: Proof) -> dict[str, Any]:
    """What a certificate states, as JSON gives it back."""
    result = {field: getattr(proof, field) for field in _RESULT}
    result["counterexamples"] = [asdict(c) for c in proof.counterexamples]
    stated = {"format": FORMAT, "a": proof.a, "b": proof.b, "domain": proof.domain, "request": proof.request}
    return json.loads(json.dumps({**stated, "result": result}))


def _digest(content: dict[str, Any]) -> str:
    """SHA-256 of everything but itself."""
    rest = {k: v for k, v in content.items() if k != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _again(content: dict[str, Any]) -> Proof:
    a, b, request = content["a"], content["b"], content["request"]
    method = content["result"]["method"]
    if method == "smt":
        limits = {k: a[k] for k in ("zero_point", "qmin", "qmax")}
        shift, limit = request["shift"], request["limit"]
        found = prove(a["scheme"], b["scheme"], shift=shift, method="smt", limit=limit, **limits)
    else:
        sides = requantizer_of(a), requantizer_of(b)
        found = prove(*sides, accumulator_range=tuple(content["domain"]), method=method, limit=request["limit"])
    # how the method and range were asked for is no part of what is proved
    return replace(found, request=request)


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AccelsimError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise AccelsimError(f"{path} is not a certificate: not JSON ({error})") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise AccelsimError(f"{path} is not a certificate: its format is not {FORMAT!r}")
    return content
