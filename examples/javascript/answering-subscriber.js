// A subscriber that answers: an event is acknowledged once what was made of it is on disk, and else refused or parked.
//
//     node answering-subscriber.js NAME LEDGER
//
// `enter` is where your work goes. What it makes of an event is kept in a ledger with the event's CID: killed between that
// and the answer, the program is given the event again and finds it there. In a database both are one transaction. SIGTERM
// ends it behind the event in hand; what was not answered comes again.

import { appendFileSync, existsSync, openSync, readFileSync, truncateSync } from 'node:fs'
import { Consumer, ListOffsetTimestamps, Producer } from '@platformatic/kafka'
import { committed, stableEnds } from './committed.js'
import { partitionOf } from './journal.js'
import { bootstrapBrokers, prefix } from './settings.js'

const LONGEST = 120
const LONGEST_REASON = 1_000
const [name, path] = process.argv.slice(2)
if (path === undefined) {
  console.error('usage: node answering-subscriber.js NAME LEDGER')
  process.exit(2)
}

// It is of no use to try again: the event is parked, and later ones of its aggregate wait for an administrator.
class NeverError extends Error {}

// Returns what is kept of an event. An error that is no NeverError says: not now.
function enter (value) {
  if (existsSync(`${path}.closed`)) throw new Error('the ledger is closed')
  if (value.length > LONGEST) throw new NeverError(`${value.length} bytes, and the ledger has room for ${LONGEST}`)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(value)
  } catch {
    throw new NeverError("no text: the subscription's payload is to be data")
  }
}

// A line for each delivery. done: the CIDs of the events whose work is done; positions: where partitions go on.
class Ledger {
  done = new Set()
  positions = new Map()

  constructor () {
    this.file = openSync(path, 'a')
    const lines = readFileSync(path)
    const end = lines.lastIndexOf('\n') + 1
    truncateSync(path, end) // what a kill left of a line was never answered
    for (const line of lines.toString('utf8', 0, end).split('\n').slice(0, -1)) this.#know(JSON.parse(line))
  }

  // Returns when the line is on disk. Where that fails the program ends, and answers nothing.
  keep (entry) {
    appendFileSync(this.file, JSON.stringify(entry) + '\n', { flush: true })
    this.#know(entry)
  }

  #know ({ cid, became, partition, offset }) {
    this.positions.set(partition, BigInt(offset) + 1n)
    if (became === 'done') this.done.add(cid)
  }
}

// Returns what becomes of an event, and the answer that says so.
function handle (cid, value) {
  if (ledger.done.has(cid)) return { became: 'done before', verdict: 'ack' }
  try {
    return { became: 'done', verdict: 'ack', data: enter(value) }
  } catch (error) { // a fault in the work, too, is refused: it comes again, and others go on
    const [became, verdict] = error instanceof NeverError ? ['parked', 'park'] : ['refused', 'nack']
    return { became, verdict, reason: String(error.message).slice(0, LONGEST_REASON) }
  }
}

const [topic, acks] = [`${prefix}subscribers.${name}`, `${prefix}acks.${name}`]
const stop = new AbortController()
process.on('SIGTERM', () => stop.abort())
const consumer = new Consumer({ clientId: 'annals-example', groupId: 'never-joined', bootstrapBrokers })
const producer = new Producer({ clientId: 'annals-example', bootstrapBrokers, idempotent: true })
const { topics } = await producer.metadata({ topics: [acks] })
const partitions = topics.get(acks).partitionsCount
const ledger = new Ledger()
const starts = (await consumer.listOffsets({ topics: [topic], timestamp: ListOffsetTimestamps.EARLIEST })).get(topic)
const ends = await stableEnds(consumer, topic)
const positions = starts.map((first, partition) => {
  const known = ledger.positions.get(partition) ?? first
  return first <= known && known <= ends[partition] ? known : first // the topic keeps 7 days
})
const met = { done: 0, 'done before': 0, refused: 0, parked: 0 }
for await (const [partition, record] of committed(consumer, topic, positions, undefined, stop.signal)) {
  if (record.offset < positions[partition]) continue // a batch is given whole
  const headers = Object.fromEntries([...record.headers].map(([key, value]) => [String(key), String(value)]))
  const { ce_id: cid, ce_subject: subject } = headers
  const version = Number(headers.ce_sequence)
  const attempt = Number(headers.ce_redelivery ?? 1) // the first delivery has no such header
  const { became, verdict, data = null, reason } = handle(cid, record.value ?? Buffer.alloc(0))
  // Before the answer: the other way round, a kill between the two would lose the event.
  ledger.keep({ cid, subject, version, attempt, became, data, partition, offset: Number(record.offset) })
  met[became]++
  console.log(`${subject} version ${version}, ${attempt === 1 ? 'first delivery' : `delivery ${attempt}`}: ${became}`)
  // The key is the aggregate's id, whatever the event's own is. An answer that is lost costs one more delivery.
  const key = Buffer.from(subject)
  const answer = { cid, kind: headers.ce_source.split('/').at(-1), attempt, verdict, reason }
  const message = { topic: acks, key, value: Buffer.from(JSON.stringify(answer)), partition: partitionOf(key, partitions) }
  await producer.send({ messages: [message] })
  if (stop.signal.aborted) break
}
await Promise.all([producer.close(), consumer.close()])
console.log(Object.entries(met).map(([became, number]) => `${number} ${became}`).join(', '))
