"""Certificates: what was proved, written down so that anyone can prove it again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accelsim.errors import AccelsimError
from accelsim.files import write_atomically
from accelsim.proof.equivalence import Proof, prove, requantizer_of
from accelsim.versions import versions

FORMAT = "accelsim-proof-1"
_RESULT = ("equal", "method", "differing", "visible", "counterexamples")


@dataclass(frozen=True)
class Recheck:
    """The outcome of recheck(): confirmed, or what does not hold (one line each)."""

    confirmed: bool
    problems: tuple[str, ...]
    seconds: float

    def __bool__(self) -> bool:
        return self.confirmed


def save(proof: Proof, path: Any) -> None:
    """Write a proof as JSON: both definitions, domain, method, result, versions.

    AccelsimError where a side is the user's own code, which a certificate cannot hold.
    """
    for side in (proof.a, proof.b):
        if side["kind"] != "scheme":
            raise AccelsimError(f"a certificate needs two named schemes; {side.get('name')} is your own code")
    content = {
        "format": FORMAT,
        "a": proof.a,
        "b": proof.b,
        "domain": list(proof.domain),
        "request": proof.request,
        "result": _result(proof),
        "seconds": proof.seconds,
        "versions": versions(),
        "definitions_sha256": definitions_hash(),
    }
    write_atomically(Path(path), json.dumps(content, indent=2) + "\n")


def recheck(path: Any) -> Recheck:
    """Prove again what a certificate states, offline: the same sides, domain and method must give its result.

    Every counterexample is also evaluated in Python integers. AccelsimError where the file is no certificate.
    """
    content = _load(Path(path))
    problems = []
    try:
        proof = _again(content)
    except (KeyError, TypeError) as error:
        raise AccelsimError(f"{path}: malformed certificate: {error}") from None
    for field, value in _result(proof).items():
        stated = content["result"].get(field)
        if stated != value:
            problems.append(f"{field}: the certificate states {stated}, this run finds {value}")
    if list(proof.domain) != content["domain"]:
        problems.append(f"domain: the certificate states {content['domain']}, this run covers {proof.domain}")
    return Recheck(not problems, tuple(problems), proof.seconds)


def definitions_hash() -> str:
    """SHA-256 of the sources that define the schemes."""
    import accelsim_kernels

    folder = Path(accelsim_kernels.__file__).parent
    names = ("names.py", "domain.py", "fixedpoint.py", "schemes.py", "requantize_loops.py")
    digest = hashlib.sha256()
    for name in names:
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def _result(proof: Proof) -> dict[str, Any]:
    result = {field: getattr(proof, field) for field in _RESULT}
    return {**result, "counterexamples": [asdict(c) for c in proof.counterexamples]}


def _again(content: dict[str, Any]) -> Proof:
    a, b, request = content["a"], content["b"], content["request"]
    limit, method = request["limit"], content["result"]["method"]
    if method == "smt":
        limits = {k: a[k] for k in ("zero_point", "qmin", "qmax")}
        return prove(a["scheme"], b["scheme"], shift=request["shift"], method="smt", limit=limit, **limits)
    sides = requantizer_of(a), requantizer_of(b)
    return prove(*sides, accumulator_range=tuple(content["domain"]), method=method, limit=limit)


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
