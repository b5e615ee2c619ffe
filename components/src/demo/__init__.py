"""The whole platform on one machine: real servers, paper exchange, every service, a live view.

Everything lives in ``.local/demo``; nothing of the system's own is touched.
"""
