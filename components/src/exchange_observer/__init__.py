"""An independent reading of the account, published for the quorum.

``python -m exchange_observer --observer-id ID --port P [--proxy URL] [--interval SECONDS]``
"""
