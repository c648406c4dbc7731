"""Backends of LunaCore: one module or folder for each kind of store, named by entry points and opened by URL."""
