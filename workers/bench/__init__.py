"""The benchmarks: what this project promises about speed and memory, measured beside baselines in the same run.

- `workers.bench.plan`: how much each part measures, in full and in small;
- `workers.bench.ground`: the broker, and topics of a measurement's own, which go with it;
- `workers.bench.programs` and `usage`: the processes that are measured, and what they took;
- `workers.bench.load` and `watching`: commands in, and what can be seen of them in Kafka;
- `workers.bench.baselines`: what is measured beside the worker;
- `workers.bench.parts`: the measurements themselves, one module each;
- `workers.bench.figures`, `machine`, `report`: what was found, and where.
"""
