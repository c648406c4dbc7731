"""Records and grants in PostgreSQL, shared by the tokenizers of many machines; docs/reference/postgresql.md."""
