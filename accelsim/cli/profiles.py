"""accelsim profiles: the numeric profiles that come along."""

from __future__ import annotations

from typing import Annotated

import typer

from accelsim.cli import _options as options

EXAMPLE = "accelsim profiles tflm"
PANEL = "Look up"


def profiles(
    name: Annotated[str | None, typer.Argument(help="Show this one: which arithmetic each operator uses.")] = None,
    as_json: options.Json = False,
) -> None:
    """List the numeric profiles (the rounding of a named runtime), or show one."""
    import accelsim as acs
    from accelsim.cli._catalogue import profile_detail, profile_fields, profiles_table
    from accelsim.cli._output import show

    if name is not None:
        profile = acs.load_profile(name)
        show(profile_detail(profile), as_json, lambda: profile_fields(profile))
        return
    found = [acs.load_profile(known) for known in acs.list_profiles()]
    show(profiles_table(found), as_json, lambda: [profile_fields(profile) for profile in found])
