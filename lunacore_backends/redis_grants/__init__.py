"""Grants, states, marks and counters in Redis or Valkey; docs/reference/redis.md. Named so as not to be taken for redis-py."""
