// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Volumes by the JavaScript SDK, unmodified: every call that it has. No sandbox is needed.
import { after, before, test } from 'node:test'
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'

const { Volume, VolumeError, VolumeNotFoundError, VolumePathNotFoundError } = await import('e2b')
const name = () => `t-${randomBytes(6).toString('hex')}`
let volume

before(async () => {
  volume = await Volume.create(name())
})
after(async () => {
  await Volume.destroy(volume.volumeId)
})

test('control calls', async () => {
  assert.equal((await Volume.connect(volume.volumeId)).token, volume.token)
  assert.equal((await Volume.getInfo(volume.volumeId)).name, volume.name)
  assert.ok((await Volume.list()).some((v) => v.volumeId === volume.volumeId && v.name === volume.name))
  await assert.rejects(Volume.create(volume.name), VolumeError)
  await assert.rejects(Volume.create('no/name'), VolumeError)
  await assert.rejects(Volume.getInfo('nosuch'), VolumeNotFoundError)
  assert.equal(await Volume.destroy('nosuch'), false)
  const gone = await Volume.create(name())
  assert.equal(await Volume.destroy(gone.volumeId), true)
})

test('files, in every format', async () => {
  const entry = await volume.writeFile('/a', 'hällo', { mode: 0o640, uid: 1000, gid: 1001 })
  assert.deepEqual([entry.name, entry.path, entry.type, entry.size, entry.mode, entry.uid, entry.gid],
    ['a', '/a', 'file', 6, 0o640, 1000, 1001])
  assert.ok(Math.abs(Date.now() - entry.mtime.getTime()) < 60_000)
  assert.equal(await volume.readFile('/a'), 'hällo')
  await volume.writeFile('/a', new Uint8Array([0, 255]).buffer)
  assert.deepEqual([...(await volume.readFile('/a', { format: 'bytes' }))], [0, 255])
  await volume.writeFile('/a', new Blob(['a blob']))
  assert.equal(await (await volume.readFile('/a', { format: 'blob' })).text(), 'a blob')
  await volume.writeFile('/empty', '')
  assert.equal(await volume.readFile('/empty'), '')
  await assert.rejects(volume.readFile('/no'), VolumePathNotFoundError)
  await assert.rejects(volume.writeFile('/no/a', 'x'), VolumePathNotFoundError)
  await volume.writeFile('/way/to/a', 'x', { force: true })
  assert.equal(await volume.readFile('/way/to/a'), 'x')
})

test('streams, longer than a control request may be', async () => {
  const piece = new Uint8Array(100_000).map((_, i) => i % 251)
  const body = new ReadableStream({
    start(controller) {
      for (let i = 0; i < 60; i++) controller.enqueue(piece)
      controller.close()
    },
  })
  assert.equal((await volume.writeFile('/large', body)).size, 6_000_000)
  let got = 0
  for await (const part of await volume.readFile('/large', { format: 'stream' })) {
    for (const byte of part) assert.ok(byte === (got++ % 100_000) % 251)
  }
  assert.equal(got, 6_000_000)
  await assert.rejects(volume.readFile('/no', { format: 'stream' }), VolumePathNotFoundError)
})

test('directories', async () => {
  assert.equal((await volume.makeDir('/d', { mode: 0o700 })).mode, 0o700)
  await assert.rejects(volume.makeDir('/d'), VolumeError)
  await assert.rejects(volume.makeDir('/x/y'), VolumePathNotFoundError)
  await volume.makeDir('/d/e/f', { force: true })
  assert.deepEqual((await volume.list('/d')).map((e) => e.path), ['/d/e'])
  assert.deepEqual((await volume.list('/d', { depth: 2 })).map((e) => e.path), ['/d/e', '/d/e/f'])
  assert.equal((await volume.updateMetadata('/d/e', { mode: 0o711, uid: 4 })).uid, 4)
  assert.equal((await volume.getInfo('/d')).type, 'directory')
  assert.equal(await volume.exists('/d/e'), true)
  await volume.remove('/d')
  assert.equal(await volume.exists('/d/e'), false)
  await assert.rejects(volume.remove('/d'), VolumePathNotFoundError)
})
