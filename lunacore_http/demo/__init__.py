"""The live demo (``lunacore demo``): a small application that keeps no secret of its users, and shows why.

``application`` is the application itself, built with ``lunacore_http.sdk`` alone, and meant to be read. ``running`` starts it
beside a tokenizer, each in a process of its own.
"""
