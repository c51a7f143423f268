// What is committed in a topic, in the order of each partition.
//
// @platformatic/kafka leaves out aborted records by itself, but keeps one range for each producer in a fetch: with two
// aborted transactions, or a marker that comes with a later fetch, it delivers what was aborted, and may drop what was not.
// So this reads everything, markers included, and holds a transaction's records back until its marker says which it is.

import { FetchIsolationLevels, ListOffsetTimestamps } from '@platformatic/kafka'

const TRANSACTIONAL = 1 << 4
const CONTROL = 1 << 5
const COMMIT = 1
const MAX_BYTES = 8 << 20

// One partition's batches; a transaction's wait for its marker, and whatever comes after them waits with them.
export class Transactions {
  #batches = []

  // Takes a batch as it is in the log, and returns the records that are now known to be committed, in order.
  add (batch) {
    if (batch.attributes & CONTROL) {
      const isCommitted = batch.records[0].key.readInt16BE(2) === COMMIT
      for (const waiting of this.#batches) {
        if (waiting.isCommitted === undefined && waiting.producerId === batch.producerId) {
          waiting.isCommitted = isCommitted
        }
      }
    } else {
      const isCommitted = batch.attributes & TRANSACTIONAL ? undefined : true
      this.#batches.push({ producerId: batch.producerId, isCommitted, records: recordsOf(batch) })
    }
    const open = this.#batches.findIndex((waiting) => waiting.isCommitted === undefined)
    const decided = this.#batches.splice(0, open === -1 ? this.#batches.length : open)
    return decided.filter((each) => each.isCommitted).flatMap((each) => each.records)
  }
}

function recordsOf ({ firstOffset, records }) {
  return records.map(({ offsetDelta, key, value, headers }) => ({
    offset: firstOffset + BigInt(offsetDelta), key, value, headers
  }))
}

// Returns where each partition of a topic ends: behind the last record whose transaction is over.
export async function stableEnds (consumer, topic) {
  const found = await consumer.listOffsets({
    topics: [topic], timestamp: ListOffsetTimestamps.LATEST, isolationLevel: FetchIsolationLevels.READ_COMMITTED
  })
  return found.get(topic)
}

// Yields [partition, record] from the given offsets on; to the given ends, or without them until the signal is aborted.
export async function * committed (consumer, topic, positions, ends, signal) {
  consumer.topics.track(topic)
  const next = [...positions]
  const transactions = next.map(() => new Transactions())
  const isOpen = (partition) => ends === undefined || next[partition] < ends[partition]
  while (!signal?.aborted && next.some((_, partition) => isOpen(partition))) {
    const { topics } = await consumer.metadata({ topics: [topic] })
    const { id, partitions } = topics.get(topic)
    const wanted = Map.groupBy(next.keys().filter(isOpen), (partition) => partitions[partition].leader)
    for (const [node, numbers] of wanted) {
      const response = await consumer.fetch({
        node, maxWaitTime: 500, isolationLevel: FetchIsolationLevels.READ_UNCOMMITTED, topics: [{ topicId: id, partitions: numbers.map(fetchFrom(next)) }]
      })
      for (const { partitionIndex: partition, records: batches } of response.responses.flatMap((each) => each.partitions)) {
        for (const batch of batches ?? []) {
          const begin = next[partition]
          next[partition] = batch.firstOffset + BigInt(batch.lastOffsetDelta) + 1n
          if (next[partition] <= begin) continue // fetched again
          for (const record of transactions[partition].add(batch)) yield [partition, record]
        }
      }
    }
  }
}

function fetchFrom (next) {
  return (partition) => ({
    partition, fetchOffset: next[partition], partitionMaxBytes: MAX_BYTES, currentLeaderEpoch: -1, lastFetchedEpoch: -1
  })
}
