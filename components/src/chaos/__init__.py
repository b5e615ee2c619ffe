"""Seeded faults against the running platform, and a checker over what it did."""
