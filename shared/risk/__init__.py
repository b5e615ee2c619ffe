"""Risk: pure limits and checks, and the audit trail at its edge."""
