"""What a worker serves over HTTP: health for orchestrators, metrics for Prometheus, schemas for consumers."""
