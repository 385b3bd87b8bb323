#!/usr/bin/env node
// The official JavaScript SDK, measured by itself: requests in JSON, one a line. `src/peers/programs.rs` asks them.
import { createRequire } from 'node:module'
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

const require = createRequire(join(process.env.ESDK_INTEROP_DIR, 'package.json'))
const sdk = require('@aws-crypto/client-node')

const PIECE = 64 << 10
const client = sdk.buildClient()

function* pieces(data) {
  for (let at = 0; at < data.length; at += PIECE) yield data.subarray(at, at + PIECE)
}

/** Returns the work of a request, which takes a function for each piece of the output. */
function job(request) {
  const keyring = new sdk.RawAesKeyringNode({
    keyNamespace: request.namespace,
    keyName: request.name,
    unencryptedMasterKey: Uint8Array.from(request.test_key),
    wrappingSuite: sdk.RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
    utf8Sorting: true,
  })
  const data = readFileSync(request.input)
  const settings = { suiteId: parseInt(request.suite, 16), frameLength: request.frame_length }
  if (!request.stream)
    return request.encrypt
      ? async (out) => out((await client.encrypt(keyring, data, settings)).result)
      : async (out) => out((await client.decrypt(keyring, data)).plaintext)
  return (out) =>
    pipeline(
      Readable.from(pieces(data), { objectMode: false }),
      request.encrypt ? client.encryptStream(keyring, settings) : client.decryptStream(keyring),
      new Writable({
        write(piece, _, done) {
          out(piece)
          done()
        },
      }),
    )
}

let work
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  let answer = {}
  if (request.op === 'start') {
    work = job(request)
    const file = openSync(request.output, 'w')
    await work((piece) => writeSync(file, piece))
    closeSync(file)
  } else {
    const start = process.hrtime.bigint()
    for (let time = 0; time < request.count; time++) await work(() => {})
    answer = { seconds: Number(process.hrtime.bigint() - start) / 1e9 }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
