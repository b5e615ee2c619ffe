"""Performance figures of the design, each measured by one function (``make bench``)."""
