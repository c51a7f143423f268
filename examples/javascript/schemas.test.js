// ajv in strict mode takes every published JSON Schema, and finds its examples valid.

import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'

const folder = new URL('../../schemas/json/', import.meta.url).pathname

for (const file of globSync('*/*.json', { cwd: folder }).sort()) {
  test(file, () => {
    const ajv = addFormats(new Ajv2020({ strict: true, allErrors: true }))
    ajv.addVocabulary(['x-personal', 'x-max-dag-cbor-bytes']) // annotations of this project's own
    const schema = JSON.parse(readFileSync(folder + file))
    const validate = ajv.compile(schema)
    for (const example of schema.examples ?? []) assert.ok(validate(example), ajv.errorsText(validate.errors))
  })
}
