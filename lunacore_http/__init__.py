"""LunaCore over HTTP: the tokenizer as a server, its gateway, identity providers and the command line."""
