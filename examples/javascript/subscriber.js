// A subscriber that proves what it got: each event continues the chain of its aggregate, by ce_previous.
//
//     node subscriber.js NAME
//
// Reads subscribers.NAME from its first record to its present end. Prints an event in one line; one that is there a second
// time is passed over. One whose ce_previous is not the ce_id of the event before it says that events are missing; of a
// subscription with types or filters they are missing on purpose. Exits with 1 if there is any.

import { Consumer, ListOffsetTimestamps } from '@platformatic/kafka'
import { committed, stableEnds } from './committed.js'
import { bootstrapBrokers, prefix } from './settings.js'

const [name] = process.argv.slice(2)
if (name === undefined) {
  console.error('usage: node subscriber.js NAME')
  process.exit(2)
}
const topic = `${prefix}subscribers.${name}`
const consumer = new Consumer({ clientId: 'annals-example', groupId: 'never-joined', bootstrapBrokers })
const ends = await stableEnds(consumer, topic)
// The topic keeps 7 days: it need not begin at 0.
const starts = (await consumer.listOffsets({ topics: [topic], timestamp: ListOffsetTimestamps.EARLIEST })).get(topic)
const heads = new Map()
let [events, again, breaks] = [0, 0, 0]
for await (const [partition, record] of committed(consumer, topic, starts, ends)) {
  if (record.offset >= ends[partition]) continue
  const headers = Object.fromEntries([...record.headers].map(([key, value]) => [String(key), String(value)]))
  const aggregate = `${headers.ce_source} ${headers.ce_subject}`
  const version = BigInt(headers.ce_sequence)
  const last = heads.get(aggregate)
  if (last !== undefined && version <= last.version) {
    again++
    continue
  }
  events++
  // Of an aggregate that is met for the first time, what came before may be older than the topic.
  const isWhole = last === undefined
    ? (headers.ce_previous === undefined) === (version === 1n)
    : headers.ce_previous === last.cid
  if (!isWhole) breaks++
  const what = isWhole ? '' : `: continues ${headers.ce_previous}, and the event before it is ${last?.cid}`
  console.log(`${headers.ce_subject} version ${version}: ${headers.ce_type} ${headers.ce_id}${what}`)
  heads.set(aggregate, { version, cid: headers.ce_id })
}
await consumer.close()
console.log(`${events} events, ${again} seen before; ${breaks} do not continue their chain`)
process.exitCode = breaks === 0 ? 0 : 1
