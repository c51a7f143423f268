// Canonical DAG-CBOR, read so that nothing is lost: cborg with hooks.
//
// JavaScript has one type for 52 and 52.0, so that a decoded block does not say which of them it held, and no library writes
// 52.0 again: here a float stays wrapped. Maps stay maps, as objects sort members that look like numbers. Text keeps a byte
// order mark at its beginning, which a TextDecoder would take for no part of it.

import { decode, encode, Token, Tokenizer, Type } from 'cborg'

const LINK = 42
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export class Float {
  constructor (value) {
    this.value = value
  }
}

// A link's bytes, as they stand in the block: a zero byte, and the CID.
export class Link {
  constructor (bytes) {
    this.bytes = bytes
  }
}

class LosingNothing extends Tokenizer {
  next () {
    const token = super.next()
    if (Type.equals(token.type, Type.float)) {
      if (Object.is(token.value, -0)) throw new Error('negative zero')
      return new Token(token.type, new Float(token.value), token.encodedLength)
    }
    if (Type.equals(token.type, Type.string) && token.byteValue !== undefined) token.value = utf8.decode(token.byteValue)
    return token
  }
}

const DECODE = {
  strict: true,
  allowIndefinite: false,
  allowUndefined: false,
  allowNaN: false,
  allowInfinity: false,
  allowBigInt: true, // of integers beyond 2^53
  rejectDuplicateMapKeys: true,
  retainStringBytes: true,
  useMaps: true,
  tags: { [LINK]: (content) => new Link(content()) }
}

const ENCODE = {
  float64: true,
  typeEncoders: {
    Object: (value) => {
      if (value instanceof Float) return [new Token(Type.float, value.value)]
      if (value instanceof Link) return [new Token(Type.tag, LINK), new Token(Type.bytes, value.bytes)]
      throw new Error('not of the data model')
    }
  }
}

// Returns what a block holds: Map, Array, string, number or BigInt (integers), Float, boolean, null, Link, Uint8Array.
// Throws where the block is not canonical: encoded again it has to give the same bytes.
export function decodeCanonical (block) {
  const value = decode(block, { ...DECODE, tokenizer: new LosingNothing(block, DECODE) })
  if (!Buffer.from(encode(value, ENCODE)).equals(block)) throw new Error('not canonical')
  return value
}
