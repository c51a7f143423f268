// A producer that awaits the outcome of each command.
//
//     node producer.js KIND < commands.jsonl
//
// Takes one JSON command a line, sends each under its own id, and prints the outcomes as they come. A command without an
// answer is sent again under the same id: it happens once. A line without an id is a new wish: it is given one, and unless it
// says otherwise it is for the version and head that the last outcome of its aggregate had; when somebody was faster it is
// rejected, with version_conflict. Exits with 1 if any was rejected.

import { randomUUID } from 'node:crypto'
import { createInterface } from 'node:readline'
import { Consumer, Producer } from '@platformatic/kafka'
import { committed, stableEnds } from './committed.js'
import { partitionOf } from './journal.js'
import { bootstrapBrokers, prefix } from './settings.js'

const SEND_AGAIN_MS = 10_000
const ATTEMPTS = 3
const kind = process.argv[2]
if (kind === undefined) {
  console.error('usage: node producer.js KIND < commands.jsonl')
  process.exit(2)
}
const [commands, outcomes] = [`${prefix}commands.${kind}`, `${prefix}outcomes.${kind}`]
const consumer = new Consumer({ clientId: 'annals-example', groupId: 'never-joined', bootstrapBrokers })
const producer = new Producer({ clientId: 'annals-example', bootstrapBrokers, idempotent: true })
// The client's own partitioner takes the hash as unsigned, which is another partition for half of all keys unless the number
// of partitions is a power of two. The command would be forwarded, which costs a round.
const { topics } = await producer.metadata({ topics: [commands] })
const partitions = topics.get(commands).partitionsCount

const waiting = new Map() // command id: what to do with its outcome
const seen = new Map() // aggregate id: its last outcome, which has the version and head of then

async function readOutcomes (positions) {
  for await (const [, record] of committed(consumer, outcomes, positions)) {
    const outcome = JSON.parse(record.value)
    waiting.get(outcome.command_id)?.(outcome)
  }
}

async function send (text, { id, aggregate_id: aggregateId }) {
  const answered = new Promise((resolve) => waiting.set(id, resolve))
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const key = Buffer.from(aggregateId)
    const message = { topic: commands, key, value: Buffer.from(text), partition: partitionOf(key, partitions) }
    await producer.send({ messages: [message] })
    const outcome = await Promise.race([answered, after(SEND_AGAIN_MS)])
    if (outcome !== undefined) {
      waiting.delete(id)
      return outcome
    }
  }
  throw new Error(`no outcome of command ${id}: does a worker run?`)
}

// Returns the line as it is sent, and its id. What is added stands in front: written again by JavaScript, 52.0 would be 52.
function wish (line, command) {
  if (command.id !== undefined) return { id: command.id, text: line }
  const id = randomUUID()
  const added = { id }
  const last = seen.get(command.aggregate_id)
  if (last !== undefined && command.expected_version === undefined && command.expected_head === undefined) {
    added.expected_version = last.version
    if (last.head !== null) added.expected_head = last.head
  }
  return { id, text: line.replace('{', `${JSON.stringify(added).slice(0, -1)}, `) }
}

function after (milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds).unref())
}

// From here on, before anything is sent, so that no outcome is missed.
const reading = readOutcomes(await stableEnds(consumer, outcomes))
reading.catch((error) => {
  console.error(error)
  process.exit(2)
})
let rejected = 0
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  const { id, text } = wish(line, command)
  const outcome = await send(text, { ...command, id })
  seen.set(command.aggregate_id, outcome)
  rejected += outcome.status === 'rejected'
  console.log(JSON.stringify(outcome))
}
process.exit(rejected === 0 ? 0 : 1) // the reading of outcomes would go on for ever
