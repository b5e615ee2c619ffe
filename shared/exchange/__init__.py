"""The venue's border: typed replies, error tree, request budget and transport."""
