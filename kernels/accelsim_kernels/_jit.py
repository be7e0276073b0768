"""How the kernels are compiled, kept on disk and loaded: every compiler flag, and the cache, in one place.

Two kinds of compiled things:
- `@njit` marks a scalar or helper that other compiled functions inline; nothing of it is kept on disk.
- `Kernel` is an entry point on addresses and numbers. Its machine code is kept as an object file, and a process
  that finds it there loads it through llvmlite: neither Numba nor a compiler runs.

The cache folder is named by a hash of every kernel source, the versions of Numba and llvmlite, the CPU and Numba's
own environment settings, so an entry can never be stale. Files are written beside and renamed; equal names hold
equal code, so two processes that compile at once do no harm. Where the folder cannot be written, kernels live in
memory only. Numba's own cache settings are neither read nor changed.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib
import importlib.metadata
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FLAGS = {"nogil": True, "error_model": "numpy", "boundscheck": False, "fastmath": False}

_DIGEST_BYTES = hashlib.sha256().digest_size
_log = logging.getLogger("accelsim_kernels")
#: a process that starts with ACCELSIM_ISA=avx2 has nothing compiled beyond it
_ISA_AT_START = os.environ.get("ACCELSIM_ISA")
_lock = threading.RLock()
_announced = False


class Jitted:
    """A function that Numba compiles at its first use; importing it does not import Numba."""

    def __init__(self, function: Callable) -> None:
        functools.update_wrapper(self, function)
        self.function = function

    @functools.cached_property
    def dispatcher(self) -> Any:
        return _numba().njit(**FLAGS)(self.function)

    def __call__(self, *args: Any) -> Any:
        return self.dispatcher(*args)


def njit(function: Callable) -> Jitted:
    """Mark a helper that compiled functions inline; called from Python it is compiled for what it is given."""
    return Jitted(function)


@functools.cache
def _numba() -> Any:
    """Numba, once it knows that a Jitted object stands for its dispatcher."""
    import numba
    from numba.core import types
    from numba.extending import typeof_impl

    @typeof_impl.register(Jitted)
    def typeof_jitted(value: Jitted, context: object) -> types.Dispatcher:
        return types.Dispatcher(value.dispatcher)

    return numba


class Kernel:
    """Machine code by name: `module` (of this package) and `factory` in it, with the factory's parameters.

    The factory returns either a Python function on int64 arguments without a result, compiled by Numba, or LLVM IR
    that defines `kernel`. Called or asked for its address, the kernel is loaded from disk or compiled.
    """

    def __init__(self, module: str, factory: str, *parameters: Any) -> None:
        self.module, self.factory, self.parameters = module, factory, parameters
        readable = "-".join(str(part) for part in (module, factory, *parameters))
        self.name = "".join(c if c.isalnum() or c in "-_." else "_" for c in readable)

    @functools.cached_property
    def address(self) -> int:
        with _lock:
            return _load(self.name, self._build)

    @functools.cached_property
    def call(self) -> Callable:
        """The kernel as a function of the arguments' address, worker and workers."""
        return self.function(3)

    def function(self, count: int) -> Callable:
        """The kernel as a function of `count` numbers."""
        return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * count)(self.address)

    def __call__(self, arguments: np.ndarray, worker: int = 0, workers: int = 1) -> None:
        """Run as worker `worker` of `workers` on an int64 array of arguments, without the interpreter lock."""
        self.call(address(arguments), worker, workers)

    def _build(self) -> str:
        built = getattr(importlib.import_module(f"accelsim_kernels.{self.module}"), self.factory)(*self.parameters)
        return built if isinstance(built, str) else _numba_ir(built)


@functools.cache
def kernel(module: str, factory: str, *parameters: Any) -> Kernel:
    """The one Kernel of that name in this process."""
    return Kernel(module, factory, *parameters)


def _address_of() -> Callable[[np.ndarray], int]:
    """The quickest way to an array's data that this interpreter allows: a microsecond less per array."""
    read = ctypes.c_int64.from_address
    probe = np.zeros(3, np.int64)[1:]
    header = 2 * ctypes.sizeof(ctypes.c_void_p)  # the data pointer is the first field after Python's object header
    if (
        sys.implementation.name == "cpython"
        and object.__basicsize__ == header
        and ctypes.sizeof(ctypes.c_void_p) == 8
        and read(id(probe) + header).value == probe.ctypes.data
    ):
        return lambda array: read(id(array) + header).value
    return lambda array: array.ctypes.data


#: where an array's first item lies
address = _address_of()


def _numba_ir(function: Callable) -> str:
    """Optimized LLVM IR of `function` on int64 arguments, entered as `kernel`."""
    numba = _numba()
    count = function.__code__.co_argcount
    signature = numba.void(*[numba.int64] * count)
    compiled = numba.njit(signature, no_cpython_wrapper=True, no_cfunc_wrapper=True, **FLAGS)(function)
    result = compiled.overloads[compiled.signatures[0]]
    inner = result.fndesc.llvm_func_name
    values = ", ".join(f"i64 %v{i}" for i in range(count))
    entry = (
        f"define void @kernel({values}) {{\n"
        "  %result = alloca ptr\n  %problem = alloca ptr\n"
        f'  %status = call i32 @"{inner}"(ptr %result, ptr %problem{", " if count else ""}{values})\n'
        "  ret void\n}\n"
    )
    return _hide_all_but_kernel(compiled.inspect_llvm(compiled.signatures[0]) + "\n" + entry)


def _hide_all_but_kernel(text: str) -> str:
    """Make every definition but `kernel` internal, so that what is unused disappears."""
    import llvmlite.binding as llvm

    module = llvm.parse_assembly(text)
    for value in (*module.functions, *module.global_variables):
        if value.name != "kernel" and not value.is_declaration:
            value.linkage = "internal"
    return str(module)


def _load(name: str, build: Callable[[], str]) -> int:
    """The address of the kernel of that name: from disk, or built, optimized, and kept where that is possible."""
    folder = cache_folder()
    path = folder / f"{name}.o" if folder else None
    code = None
    if path is not None:
        code = _kept(path)
    if code is None:
        _announce(folder)
        code = _object_code(build())
        if path is not None:
            _keep(path, code)
    return _address(code)


def _announce(folder: Path | None) -> None:
    global _announced
    if not _announced:
        _announced = True
        kept = f"kept in {folder}" if folder else "kept in memory: no cache folder can be written"
        _log.warning("compiling kernels for this CPU, once (%s)", kept)


@functools.cache
def _machine() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    cpu, features = _target()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=cpu, features=features, opt=3, reloc="default", codemodel="jitdefault", jit=True
    )


def _target() -> tuple[str, str]:
    """LLVM's names of the CPU and features to compile for: this machine's, or no more than what was asked for."""
    import llvmlite.binding as llvm

    if _ISA_AT_START == "avx2":
        return "x86-64-v3", ""
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def _object_code(text: str) -> bytes:
    import llvmlite.binding as llvm

    machine = _machine()
    module = llvm.parse_assembly(text)
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    passes.getModulePassManager().run(module, passes)
    return machine.emit_object(module)


_engines: list[Any] = []  # loaded code stays for the life of the process


def _address(code: bytes) -> int:
    import llvmlite.binding as llvm

    machine = _machine()
    host = llvm.parse_assembly("")
    host.triple = machine.triple
    target = llvm.Target.from_default_triple().create_target_machine(codemodel="jitdefault", jit=True)
    engine = llvm.create_mcjit_compiler(host, target)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    return engine.get_function_address("kernel")


def _kept(path: Path) -> bytes | None:
    """The code that _keep wrote there, if it is there and whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, code = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return code if hashlib.sha256(code).digest() == digest else None


def _keep(path: Path, code: bytes) -> None:
    """Write beside with a digest in front, then rename; a folder that cannot be written is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(code).digest() + code)
        os.replace(temporary, path)
    except OSError as error:
        _log.info("compiled code could not be kept: %s", error)


@functools.cache
def cache_folder() -> Path | None:
    """The folder of this exact set of kernels on this CPU; None where no home is known.

    ACCELSIM_KERNEL_CACHE names the folder above it, else ACCELSIM_CACHE; the default is the user's cache folder.
    """
    chosen = os.environ.get("ACCELSIM_KERNEL_CACHE") or os.environ.get("ACCELSIM_CACHE")
    try:
        if chosen:
            root = Path(chosen).expanduser()
        else:
            home = Path.home()
            default = {"darwin": home / "Library" / "Caches", "win32": home / "AppData" / "Local"}
            root = Path(os.environ.get("XDG_CACHE_HOME") or default.get(sys.platform, home / ".cache")) / "accelsim"
    except RuntimeError:
        return None
    return root / f"kernels-{fingerprint()}"


def fingerprint() -> str:
    """What machine code depends on, hashed: sources, compiler versions, CPU, Numba's environment settings."""

    digest = hashlib.sha256()
    here = Path(__file__).parent
    for source in sorted(here.rglob("*.py")):
        digest.update(str(source.relative_to(here)).encode() + b"\0" + source.read_bytes() + b"\0")
    settings = sorted(
        item
        for item in os.environ.items()
        if item[0].startswith("NUMBA_") and item[0] not in ("NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS")
    )
    for part in (
        importlib.metadata.version("numba"),
        importlib.metadata.version("llvmlite"),
        np.__version__,
        *_target(),
        repr(settings),
    ):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:16]
