"""The calls of the tokenizer, one module for each kind."""
