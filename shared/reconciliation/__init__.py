"""Pure reconciliation: what the population wants, what the account holds, and the next order.

Values in, values out: no clock, no I/O. Amounts that meet the venue are ``Decimal``.
"""
