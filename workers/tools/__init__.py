"""Programs around the worker: the embedded broker, the demo, the benchmarks and the scaffolds."""
