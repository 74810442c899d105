"""Searching runs: the filter language and orders (docs/filters.md)."""
