"""Who asks: callers by their tokens, other workers by the header of a forwarded request, and how often each may."""
