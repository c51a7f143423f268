// docs/reference/vectors.json, record by record.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { cidOf, Journal, partitionOf } from './journal.js'

const vectors = JSON.parse(readFileSync(new URL('../../docs/reference/vectors.json', import.meta.url)))
const bytes = (text) => text === null ? null : Buffer.from(text, 'hex')

for (const { key, partition } of vectors.keys) {
  test(`key ${key}`, () => {
    for (const [partitions, expected] of Object.entries(partition)) {
      assert.equal(partitionOf(bytes(key), Number(partitions)), expected)
    }
  })
}

for (const { name, key, value, verdict, cid } of vectors.blocks) {
  test(`block: ${name}`, () => {
    const found = new Journal('person', 0, 1).read(bytes(key), bytes(value))
    assert.equal(found.verdict, verdict)
    if (verdict === 'counts') assert.equal(cidOf(bytes(value)), cid)
  })
}

for (const { name, kind, partition, partitions, records, heads, kept } of vectors.journals) {
  test(`journal: ${name}`, () => {
    const journal = new Journal(kind, partition, partitions)
    const found = records.map(({ key, value }) => journal.read(bytes(key), bytes(value)))
    assert.deepEqual(found.map((each) => each.verdict), records.map((each) => each.verdict))
    assert.deepEqual(Object.fromEntries(journal.heads), heads)
    const counted = new Set(found.filter((each) => each.verdict === 'counts').map((each) => `${each.event.aggregate_id} ${each.cid}`))
    for (const each of kept) assert.equal(counted.has(`${each.aggregate_id} ${each.cid}`), each.is_in_chain)
  })
}
