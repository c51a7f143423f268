"""The benchmarks: what this project promises about speed and memory, measured beside baselines in the same run.

- `annals.workers.tools.bench.plan`: how much each part measures, in full and in small;
- `annals.workers.tools.bench.ground`: the broker, and topics of a measurement's own, which go with it;
- `annals.workers.tools.bench.programs` and `usage`: the processes that are measured, and what they took;
- `annals.workers.tools.bench.load` and `watching`: commands in, and what can be seen of them in Kafka;
- `annals.workers.tools.bench.shard_model`: a shard without Kafka, whatever it has seen before;
- `annals.workers.tools.bench.reading_model`: a reading shard without Kafka;
- `annals.workers.tools.bench.baselines`: what is measured beside the worker;
- `annals.workers.tools.bench.parts`: the measurements themselves, one module each;
- `annals.workers.tools.bench.figures`, `machine`, `report`: what was found, and where.
"""
