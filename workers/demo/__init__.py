"""`annals demo`: a story told by real parts, each claim of which is checked while it is told.

- `workers.demo.run`: the run from start to end;
- `workers.demo.stage`: broker, topics and worker processes, and that nothing of them is left;
- `workers.demo.story`, `workers.demo.research`, `workers.demo.sequel`: what is sent; `workers.demo.teller` sends it;
- `workers.demo.trials`: a command twice, two at once, and a worker killed in mid-flight;
- `workers.demo.proofs`: the chain, the tampered copy, the whole journal;
- `workers.demo.show`: how it looks; `workers.demo.memory`: what a kept folder remembers.
"""
