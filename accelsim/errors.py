"""The one error that users' input can raise."""

from __future__ import annotations


class AccelsimError(ValueError):
    """Wrong input: the message names the layer, field or file and says what to do.

    The command line prints it without a traceback and exits with 2.
    """
