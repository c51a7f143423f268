"""Webhooks, as far as nothing is sent: what an answer means, when an endpoint is left alone, how an event is posted.

Pure, all of it; the sender is in `annals.workers.webhooks`.
"""
