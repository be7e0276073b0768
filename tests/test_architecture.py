"""The floors of the house, read from the imports: every module imports from its own floor or below."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# the longest matching prefix counts
FLOORS = {
    "accelsim_kernels": 0,
    "accelsim.errors": 0,
    "accelsim.extras": 0,
    "accelsim.files": 1,
    "accelsim.store": 1,
    "accelsim.cachedir": 1,
    "accelsim.versions": 1,
    "accelsim.specfile": 1,
    "accelsim.technology": 1,
    "accelsim.events": 1,
    "accelsim.quant": 1,
    "accelsim.accumulators": 1,
    "accelsim.hardware": 1,
    "accelsim.shapes": 1,
    "accelsim.scaling": 1,
    "accelsim.requant": 2,
    "accelsim.profiles": 2,
    "accelsim.multiplier": 2,
    "accelsim.ops": 3,
    "accelsim.dataflow": 3,
    "accelsim.graph": 4,
    "accelsim.pricing": 4,
    "accelsim.execution": 5,
    "accelsim.simulator": 5,
    "accelsim.proof": 5,
    "accelsim.mapping": 5,
    "accelsim.measurement": 5,
    "accelsim.report": 5,
    "accelsim.cached_graph": 5,
    "accelsim.decoding": 6,
    "accelsim.evaluation": 6,
    "accelsim.frontend": 6,
    "accelsim.importers": 6,
    "accelsim.export": 6,
    "accelsim.pytest_plugin": 7,
    "accelsim.cli": 7,
    "accelsim.search": 7,
    "accelsim.bench": 7,
    "accelsim.__main__": 7,
    "accelsim": 7,
}


def module_name(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[0] == "kernels":
        parts = parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor(module: str) -> int | None:
    matches = [p for p in FLOORS if module == p or module.startswith(p + ".")]
    if module != "accelsim":
        matches = [p for p in matches if p != "accelsim"]
    return FLOORS[max(matches, key=len)] if matches else None


SOURCES = sorted([*(ROOT / "accelsim").rglob("*.py"), *(ROOT / "kernels").rglob("*.py")])
MODULES = {module_name(path) for path in SOURCES}


def imports(path: Path) -> list[str]:
    """Imported module names, relative ones resolved; names imported from a package count as its submodules."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package[: len(package) - node.level + 1], node.module or ""]).strip(".")
            base = base if node.level else (node.module or "")
            for alias in node.names:
                submodule = f"{base}.{alias.name}"
                found.append(submodule if submodule in MODULES else base)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: module_name(p))
def test_imports_only_downwards(path: Path) -> None:
    module = module_name(path)
    own = floor(module)
    assert own is not None, f"{module} stands on no floor: add it to FLOORS"
    for name in imports(path):
        if module == "accelsim" or name == "accelsim":  # the lazy public face, and its version
            continue
        other = floor(name)
        assert other is None or other <= own, f"{module} (floor {own}) imports {name} (floor {other})"
        if own == 6 and module.split(".")[1] in ("frontend", "importers"):
            sibling = {"frontend": "accelsim.importers", "importers": "accelsim.frontend"}[module.split(".")[1]]
            assert not name.startswith(sibling), f"{module} must not know {sibling}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: module_name(p))
def test_torch_only_in_the_frontend(path: Path) -> None:
    module = module_name(path)
    if module.startswith(("accelsim.frontend", "accelsim.bench")):
        return
    assert not any(name.split(".")[0] == "torch" for name in imports(path)), f"{module} imports torch"


def test_reference_knows_no_numba() -> None:
    for path in SOURCES:
        if "reference" in path.parts:
            assert not any(name.split(".")[0] == "numba" for name in imports(path)), path


def test_no_submodule_has_a_public_name() -> None:
    import accelsim

    submodules = {m.split(".")[1] for m in MODULES if m.startswith("accelsim.")}
    assert not submodules & set(accelsim._PUBLIC)


def test_public_names_survive_importing_every_submodule() -> None:
    code = (
        "import importlib, accelsim\n"
        f"for name in {sorted(m for m in MODULES if not m.endswith('__main__'))!r}:\n"
        "    importlib.import_module(name)\n"
        "for name in accelsim._PUBLIC:\n"
        "    value = getattr(accelsim, name)\n"
        "    assert callable(value), name\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=ROOT)


def test_import_is_light() -> None:
    heavy = ("torch", "numba", "pandas", "scipy", "matplotlib", "sklearn")
    code = f"import sys, accelsim; print([m for m in {heavy!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"


def test_both_packages_come_from_one_place() -> None:
    import accelsim_kernels

    import accelsim

    homes = [Path(p.__file__).resolve().parents[1] for p in (accelsim, accelsim_kernels)]
    assert homes[1] in (homes[0], homes[0] / "kernels"), f"two copies are mixed: {homes}"
