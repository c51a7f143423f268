"""`annals demo`: a story told by real parts, each claim of which is checked while it is told.

- `annals.workers.tools.demo.run`: the run from start to end;
- `annals.workers.tools.demo.stage`: broker, topics and worker processes, and that nothing of them is left;
- `annals.workers.tools.demo.story`, `annals.workers.tools.demo.research`, `annals.workers.tools.demo.sequel`: what is
  sent; `annals.workers.tools.demo.teller` sends it;
- `annals.workers.tools.demo.reacting`: the reactions that the story rests on;
- `annals.workers.tools.demo.reading`: what people ask over HTTP (`annals.workers.tools.demo.asking` asks);
- `annals.workers.tools.demo.subscribing`: a subscription of which one event is parked and replayed, and
  `annals.workers.tools.demo.subscriber`, which answers;
- `annals.workers.tools.demo.trials`: a command twice, two at once, and a worker killed in mid-flight;
- `annals.workers.tools.demo.proofs`: the chain, the tampered copy, the whole journal;
- `annals.workers.tools.demo.show`: how it looks; `annals.workers.tools.demo.memory`: what a kept folder remembers.
"""
