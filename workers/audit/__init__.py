"""Verification: every CID, link and header of the journals computed again, from Kafka and nothing else.

What can be seen in a record by itself (form, place, CID, headers) is surveyed chunk by chunk, in as many processes as
there are cores; the links are judged by one process, in the order of the journal, from the surveys' few bytes.

- `workers.audit.survey`: a chunk's records, each by itself;
- `workers.audit.chains`: the reader's rule over the surveys of one partition;
- `workers.audit.report`: what was found;
- `workers.audit.journals`: which partitions there are, and from where to where they reach;
- `workers.audit.chunks`: a chunk's survey, from Kafka; `workers.audit.processes`: many at once;
- `workers.audit.verify`: all of it.
"""
