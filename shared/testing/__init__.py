"""What tests share: real servers on free ports, in-memory stores, a frozen clock."""
