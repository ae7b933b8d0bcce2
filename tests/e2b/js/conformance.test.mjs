// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The JavaScript SDK, unmodified; TINDERBOX_E2B_JS says which of the installed generations. A test's name
// is the statement that it proves.
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'

const e2b = await import(process.env.TINDERBOX_E2B_JS)
const { Sandbox, CommandExitError, NotFoundError, TimeoutError, InvalidArgumentError, AuthenticationError, FilesystemEventType } = e2b
const sleep = (ms) => new Promise((done) => setTimeout(done, ms))
let sandbox

before(async () => {
  sandbox = await Sandbox.create({ timeoutMs: 300_000, envs: { COLOUR: 'green' } })
})
after(async () => {
  await sandbox?.kill()
})

describe('files', () => {
  test('§3 multipart: filename is the full path', async () => {
    const written = await sandbox.files.write([
      { path: '/home/user/w/a "b" ü.txt', data: 'one' },
      { path: 'w/rel.bin', data: new Uint8Array([0, 255]).buffer },
    ])
    assert.deepEqual(written.map((w) => w.path), ['/home/user/w/a "b" ü.txt', '/home/user/w/rel.bin'])
    assert.equal(await sandbox.files.read('w/a "b" ü.txt'), 'one')
    assert.deepEqual([...(await sandbox.files.read('w/rel.bin', { format: 'bytes' }))], [0, 255])
  })
  test('§3 the answer has no key too many', async () => {
    const written = await sandbox.files.write('w/exact', 'x')
    assert.deepEqual(JSON.parse(JSON.stringify(written)), { name: 'exact', path: '/home/user/w/exact', type: 'file' })
  })
  test('§3 gzip and octet-stream uploads, gzip downloads', async () => {
    const text = 'packed '.repeat(10000)
    await sandbox.files.write('w/gz', text, { gzip: true, useOctetStream: true })
    assert.equal(await sandbox.files.read('w/gz'), text)
    const stream = await sandbox.files.read('w/gz', { format: 'stream' })
    let got = ''
    for await (const chunk of stream) got += Buffer.from(chunk).toString()
    assert.equal(got, text)
  })
  test('§3 metadata', async () => {
    await sandbox.files.write('w/meta', 'x', { metadata: { Author: 'me' } })
    assert.deepEqual((await sandbox.files.getInfo('w/meta')).metadata, { author: 'me' })
  })
  test('§3 errors: 404, 400, 401', async () => {
    await assert.rejects(sandbox.files.read('/no/such'), NotFoundError)
    await assert.rejects(sandbox.files.read('/etc'), InvalidArgumentError)
    await assert.rejects(sandbox.files.read('a', { user: 'ghost' }), AuthenticationError)
  })
  test('§1 signed URLs without an id', async () => {
    await sandbox.files.write('signed.txt', 'by signature')
    assert.equal(await (await fetch(await sandbox.downloadUrl('signed.txt'))).text(), 'by signature')
    const form = new FormData()
    form.append('file', new Blob(['up']), 'any')
    const up = await sandbox.uploadUrl('signed-up.txt', { useSignatureExpiration: 60_000 })
    assert.equal((await fetch(up, { method: 'POST', body: form })).status, 200)
    assert.equal(await sandbox.files.read('signed-up.txt'), 'up')
    const late = await fetch(await sandbox.downloadUrl('signed.txt', { useSignatureExpiration: -120 }))
    assert.equal(late.status, 401)
    assert.deepEqual(await late.json(), { code: 401, message: 'signature is already expired' })
  })
})

describe('filesystem', () => {
  test('§4.2 list, exists, makeDir, rename, remove', async () => {
    assert.equal(await sandbox.files.makeDir('/home/user/d/e'), true)
    assert.equal(await sandbox.files.makeDir('/home/user/d/e'), false)
    await sandbox.files.write('d/f', '12345')
    const list = await sandbox.files.list('/home/user/d', { depth: 2 })
    assert.deepEqual(list.map((e) => [e.name, e.type, e.path]), [['e', 'dir', '/home/user/d/e'], ['f', 'file', '/home/user/d/f']])
    assert.equal(list[1].size, 5)
    await sandbox.files.rename('d/f', 'd/g/h')
    assert.deepEqual([await sandbox.files.exists('d/f'), await sandbox.files.exists('d/g/h')], [false, true])
    await sandbox.files.remove('d')
    assert.equal(await sandbox.files.exists('d'), false)
    await assert.rejects(sandbox.files.list('/no/such'), NotFoundError)
  })
  test('§4.2 a link tells its target and what that is', async () => {
    await sandbox.commands.run('mkdir -p l; echo x > l/t; ln -sf t l/link; ln -sf /no/such l/broken')
    const info = await sandbox.files.getInfo('l/link')
    assert.deepEqual([info.type, info.symlinkTarget], ['file', '/home/user/l/t'])
    assert.deepEqual((await sandbox.files.list('l')).map((e) => e.name), ['link', 't'], 'broken links are skipped')
  })
  test('§4.2 watch, recursive', async () => {
    await sandbox.files.makeDir('watched')
    const events = []
    const handle = await sandbox.files.watchDir('watched', (event) => events.push(`${event.type} ${event.name}`), { recursive: true })
    await sandbox.commands.run('mkdir -p watched/a/b; sleep 0.3; echo x > watched/a/b/f; mv watched/a/b/f watched/g; rm watched/g')
    const wanted = ['create a', 'write a/b/f', 'rename a/b/f', 'create g', 'remove g']
    for (let i = 0; i < 100 && !wanted.every((w) => events.includes(w)); i++) await sleep(50)
    for (const w of wanted) assert.ok(events.includes(w), `${w} in ${events}`)
    await handle.stop()
    await assert.rejects(sandbox.files.watchDir('/no/such', () => {}), NotFoundError)
  })
})

describe('process', () => {
  test('§4.1 output, exit code, environment, cwd, user', async () => {
    const result = await sandbox.commands.run('echo $COLOUR $MORE; pwd; id -un; echo err >&2', { envs: { MORE: '1' }, cwd: '/tmp', user: 'root' })
    assert.deepEqual([result.stdout, result.stderr, result.exitCode], ['green 1\n/tmp\nroot\n', 'err\n', 0])
    await assert.rejects(sandbox.commands.run('exit 7'), (error) => error instanceof CommandExitError && error.exitCode === 7)
    await assert.rejects(sandbox.commands.run('pwd', { cwd: '/no/such' }), /cwd '\/no\/such' does not exist/)
  })
  test('§4.1 streams as it comes, UTF-8 whole', async () => {
    const chunks = []
    await sandbox.commands.run('for i in 1 2 3; do printf "é$i "; sleep 0.2; done', { onStdout: (data) => chunks.push(data) })
    assert.equal(chunks.join(''), 'é1 é2 é3 ')
    assert.ok(chunks.length >= 3, String(chunks))
  })
  test('§4.1 stdin, list, connect, kill', async () => {
    const cat = await sandbox.commands.run('cat', { background: true, stdin: true })
    assert.ok((await sandbox.commands.list()).some((p) => p.pid === cat.pid))
    const also = await sandbox.commands.connect(cat.pid)
    await sandbox.commands.sendStdin(cat.pid, 'typed')
    await sandbox.commands.closeStdin(cat.pid)
    assert.equal((await cat.wait()).stdout, 'typed')
    assert.equal((await also.wait()).stdout, 'typed')
    const sleeping = await sandbox.commands.run('exec sleep 60', { background: true })
    assert.equal(await sleeping.kill(), true)
    await assert.rejects(sleeping.wait(), (error) => error.exitCode === -1 && /signal: killed/.test(error.error))
    assert.equal(await sandbox.commands.kill(99999), false)
    await assert.rejects(sandbox.commands.connect(99999), NotFoundError)
  })
  test('§4.1.9 timeout', async () => {
    await assert.rejects(sandbox.commands.run('sleep 41', { timeoutMs: 500 }), TimeoutError)
  })
  test('§4.1 pty', async () => {
    let out = ''
    const pty = await sandbox.pty.create({ cols: 80, rows: 24, onData: (data) => (out += Buffer.from(data).toString()), envs: { PS1: '$ ' } })
    await sandbox.pty.resize(pty.pid, { cols: 99, rows: 31 })
    await sandbox.pty.sendInput(pty.pid, new TextEncoder().encode('stty size; echo $TERM; exit\n'))
    await pty.wait()
    assert.match(out, /31 99\r\n/)
    assert.match(out, /xterm-256color\r\n/)
  })
})

describe('proxy', () => {
  test('§7 isRunning, and calls after the kill', async () => {
    const other = await Sandbox.create({ timeoutMs: 60_000 })
    assert.equal(await other.isRunning(), true)
    const waiting = (await other.commands.run('sleep 60', { background: true })).wait()
    const outcome = waiting.then(() => null, (error) => error)
    await sleep(300)
    assert.equal(await other.kill(), true)
    const error = await outcome
    assert.ok(error instanceof TimeoutError, String(error))
    assert.match(error.message, /was killed or reached its end of life/)
    assert.equal(await other.isRunning(), false)
    await assert.rejects(other.commands.run('true'), /Sandbox is probably not running anymore|not running/)
    assert.equal(await other.kill(), false)
  })
  test('§1 getHost, and a port of the guest through the one URL', async () => {
    assert.match(sandbox.getHost(8000), new RegExp(`^8000-${sandbox.sandboxId}\\.`))
    const server = await sandbox.commands.run('python3 -m http.server --bind 127.0.0.1 8000', { background: true, timeoutMs: 0 })
    const headers = { 'E2b-Sandbox-Id': sandbox.sandboxId, 'E2b-Sandbox-Port': '8000' }
    let status
    for (let i = 0; i < 100 && status !== 200; i++, await sleep(100)) status = (await fetch(process.env.E2B_SANDBOX_URL + '/', { headers })).status
    assert.equal(status, 200)
    await server.kill()
  })
})
