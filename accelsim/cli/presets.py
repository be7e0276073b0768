"""accelsim presets: the accelerators that come along."""

from __future__ import annotations

from typing import Annotated

import typer

from accelsim.cli import _options as options

EXAMPLE = "accelsim presets --show edge-16x16"
PANEL = "Look up"


def presets(
    name: Annotated[
        str | None, typer.Option("--show", help="Show this one whole, as YAML: a start for your own.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """List the accelerators that come along, or show one."""
    import accelsim as acs
    from accelsim.cli._output import show

    if name is not None:
        import yaml

        data = acs.load_spec(name).model_dump(mode="json")
        show(yaml.safe_dump(data, sort_keys=False, allow_unicode=True).rstrip(), as_json, lambda: data)
        return
    from accelsim.cli._catalogue import presets_table

    specs = [acs.load_spec(preset) for preset in acs.list_presets()]
    listed = [spec.model_dump(mode="json", exclude={"technology"}) for spec in specs]
    show(presets_table(specs), as_json, lambda: listed)
