"""Audit sinks: where audit events can go."""
