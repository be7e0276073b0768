"""accelsim replay: a file somebody else wrote, run bit for bit beside its runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from accelsim.cli import _options as options

EXAMPLE = "accelsim replay model.tflite --input x.npz --against litert-ruy --detect"
PANEL = "Exchange"


def replay(
    model: Annotated[Path, typer.Argument(help="A .tflite or quantized .onnx file.")],
    inputs: Annotated[Path, typer.Option("--input", help="An .npz file with the inputs, by tensor name or input0 …")],
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            help="litert (XNNPACK), litert-ruy, litert-ref, onnxruntime (-disable-all, -basic, -extended, -all), or "
            "stored outputs: outputs.npz, outputs.npz:name.",
        ),
    ] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", help="Whose rounding to follow. (default: that of --against)")
    ] = None,
    detect: Annotated[
        bool, typer.Option("--detect", help="Find the profile of every operator from inputs and outputs alone.")
    ] = False,
    spec: Annotated[
        str | None, typer.Option("--spec", help="Emulate this accelerator's accumulators. (default: the runtime's)")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the table here, as JSON.")] = None,
    as_json: options.Json = False,
) -> None:
    """Compare every tensor that a runtime shows: what differs, by how much, and whose arithmetic would match.

    Exit status 1 where something differs.
    """
    import accelsim as acs
    from accelsim.cli._output import say, show

    found = acs.replay(model, inputs, against, profile=profile, detect=detect, spec=spec)
    if out is not None:
        say(f"wrote {found.save(out)}")
    show(str(found), as_json, found.to_dict)
    raise typer.Exit(0 if found.equal else 1)
