// The rule of every reader (docs/reference/wire.md): which records of a journal partition count.

import { blake3 } from '@noble/hashes/blake3.js'
import { base32 } from 'multiformats/bases/base32'
import { decodeCanonical, Float, Link } from './dag-cbor.js'

const DEEPEST_DATA = 512
const CID_PREFIX = Buffer.from([0x01, 0x71, 0x1e, 32]) // CIDv1, dag-cbor, BLAKE3, 32 bytes
const MOMENT = /^(?!0000)\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z$/

const isText = (value) => typeof value === 'string'
const isTextOrNull = (value) => value === null || isText(value)
const isInteger = (value) => typeof value === 'number' || typeof value === 'bigint' // floats are wrapped
const MEMBERS = new Map(Object.entries({
  kind: isText,
  aggregate_id: isText,
  version: isInteger,
  previous: (value) => value === null || isLinkToEvent(value),
  type: isText,
  schema_version: isInteger,
  recorded_at: isMoment,
  command_id: isText,
  correlation_id: isText,
  causation_id: isTextOrNull,
  actor: isTextOrNull,
  data: (value) => value instanceof Map && isJson(value)
}))

function isLinkToEvent (value) {
  if (!(value instanceof Link) || !(value.bytes instanceof Uint8Array)) return false
  const bytes = Buffer.from(value.bytes)
  return bytes.length === 1 + CID_PREFIX.length + 32 && bytes[0] === 0 && CID_PREFIX.equals(bytes.subarray(1, 5))
}

function isMoment (value) {
  if (!isText(value) || !MOMENT.test(value)) return false
  const milliseconds = value.slice(0, 23) + 'Z'
  const time = new Date(milliseconds)
  return !Number.isNaN(time.valueOf()) && time.toISOString() === milliseconds // February 30 would become March 2
}

// Whether data hold JSON types only, within so many levels. Level by level: a block may be deeper than the stack.
function isJson (data) {
  let level = [data]
  for (let depth = 0; level.length > 0; depth++) {
    if (depth === DEEPEST_DATA) return false
    const inner = []
    for (const container of level) {
      if (container instanceof Map && !Array.from(container.keys()).every(isText)) return false
      for (const value of container.values()) {
        if (value instanceof Map || Array.isArray(value)) inner.push(value)
        else if (typeof value === 'object' && value !== null && !(value instanceof Float)) return false
      }
    }
    level = inner
  }
  return true
}

// Returns the event in a record's value: part 1 of the rule; null if there is none.
export function readBlock (value) {
  let event
  try {
    event = decodeCanonical(value)
  } catch {
    return null
  }
  if (!(event instanceof Map) || event.size !== MEMBERS.size) return null
  for (const [name, isOfItsType] of MEMBERS) {
    if (!event.has(name) || !isOfItsType(event.get(name))) return null
  }
  return Object.fromEntries(event) // the twelve names are known now
}

export function cidOf (block) {
  return base32.encode(Buffer.concat([CID_PREFIX, blake3(block)]))
}

// Returns the partition that a key belongs to, as Kafka's Java client computes it.
export function partitionOf (key, partitions) {
  let hash = 0x9747b28c ^ key.length
  const whole = key.length & ~3
  for (let at = 0; at < whole; at += 4) {
    const word = Math.imul(key.readInt32LE(at), 0x5bd1e995)
    hash = Math.imul(hash, 0x5bd1e995) ^ Math.imul(word ^ (word >>> 24), 0x5bd1e995)
  }
  if (whole < key.length) hash = Math.imul(hash ^ key.readUIntLE(whole, key.length - whole), 0x5bd1e995)
  hash = Math.imul(hash ^ (hash >>> 13), 0x5bd1e995)
  return ((hash ^ (hash >>> 15)) & 0x7fffffff) % partitions
}

// One partition of a kind's journal. `heads` and `voids` are all that has to be kept with an offset, to go on from there.
export class Journal {
  heads = new Map() // of each aggregate, the version and the CID of the last event that counts
  voids = new Set()

  constructor (kind, partition, partitions) {
    this.kind = kind
    this.partition = partition
    this.partitions = partitions
  }

  // Returns { verdict: 'counts', event, cid }, or with the verdict 'void', 'foreign' or 'gap'.
  read (key, value) {
    const event = value === null ? null : readBlock(value)
    if (event === null || key === null || event.kind !== this.kind) return { verdict: 'foreign' }
    const id = event.aggregate_id
    if (!Buffer.from(id).equals(key) || partitionOf(key, this.partitions) !== this.partition) {
      return { verdict: 'foreign' }
    }
    const cid = cidOf(value)
    const previous = event.previous === null ? null : base32.encode(event.previous.bytes.subarray(1))
    const { version, head } = this.heads.get(id) ?? { version: 0, head: null }
    if (event.version === version + 1 && previous === head) {
      this.heads.set(id, { version: event.version, head: cid })
      return { verdict: 'counts', event, cid }
    }
    if (event.version <= version + 1 || this.voids.has(previous)) {
      this.voids.add(cid)
      return { verdict: 'void', event, cid }
    }
    return { verdict: 'gap', event, cid }
  }
}
