"""Webhooks: deliveries of subscriptions, posted over HTTP.

- `annals.workers.webhooks.sender`: one connection pool, bounded in time and bytes;
- `annals.workers.webhooks.resolver`: which addresses are connected to;
- `annals.workers.webhooks.secrets`: what signatures are made with, by name;
- `annals.workers.webhooks.poster`: a delivery shard's deliveries, each with its verdict;
- `annals.workers.webhooks.wiring`: what the posters of a process share.
"""
