// A consumer that believes only what counts, and compares heads that somebody kept.
//
//     node consumer.js KIND [ID CID]…
//
// Reads the kind's journal from its beginning to its present end. Prints an event that counts in one line, and what does not
// count; exits with 1 if there is anything, or if a kept head is not in its chain.

import { Consumer } from '@platformatic/kafka'
import { committed, stableEnds } from './committed.js'
import { Journal } from './journal.js'
import { bootstrapBrokers, prefix } from './settings.js'

const [kind, ...kept] = process.argv.slice(2)
if (kind === undefined || kept.length % 2 !== 0) {
  console.error('usage: node consumer.js KIND [ID CID]…')
  process.exit(2)
}
const topic = `${prefix}events.${kind}`
const consumer = new Consumer({ clientId: 'annals-example', groupId: 'never-joined', bootstrapBrokers })
const ends = await stableEnds(consumer, topic)
const journals = ends.map((_, partition) => new Journal(kind, partition, ends.length))
const counted = { counts: 0, void: 0, foreign: 0, gap: 0 }
const met = new Set()
for await (const [partition, record] of committed(consumer, topic, ends.map(() => 0n), ends)) {
  if (record.offset >= ends[partition]) continue
  const { verdict, event, cid } = journals[partition].read(record.key, record.value)
  counted[verdict]++
  if (verdict === 'counts') {
    met.add(`${event.aggregate_id} ${cid}`)
    console.log(`${event.aggregate_id} version ${event.version}: ${event.type} ${cid}`)
  } else {
    console.log(`partition ${partition} offset ${record.offset}: ${verdict}`)
  }
  if (verdict === 'gap') break // events are missing: nothing is guessed
}
await consumer.close()
let missing = 0
for (let at = 0; at < kept.length; at += 2) {
  if (met.has(`${kept[at]} ${kept[at + 1]}`)) continue
  missing++
  console.log(`${kept[at]}: the head ${kept[at + 1]} that you kept is not in its chain`)
}
const passedOver = counted.void + counted.foreign
console.log(`${counted.counts} events count; ${passedOver} records do not, ${counted.gap} after a gap; ` +
  `${kept.length / 2 - missing} of ${kept.length / 2} kept heads found`)
process.exitCode = passedOver + counted.gap + missing === 0 ? 0 : 1
