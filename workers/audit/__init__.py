"""Verification: every CID, link and header of the journals computed again, from Kafka and nothing else.

What can be seen in a record by itself (form, place, CID, headers) is surveyed chunk by chunk, in as many processes as
there are cores; the links are judged by one process, in the order of the journal, from the surveys' few bytes.

- `annals.workers.audit.scan`: a chunk's records, each by itself;
- `annals.workers.audit.chains`: the reader's rule over the surveys of one partition;
- `annals.workers.audit.report`: what was found;
- `annals.workers.audit.journals`: which partitions there are, and from where to where they reach;
- `annals.workers.audit.chunks`: a chunk's survey, from Kafka; `annals.workers.audit.processes`: many at once;
- `annals.workers.audit.verify`: all of it.
"""
