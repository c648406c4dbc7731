"""The command line ``lunacore``: one module per command or small family, ``program`` puts them together."""

from lunacore_http.command.program import main

__all__ = ["main"]
