"""The order gateway: the only process that signs, journals and sends orders."""
