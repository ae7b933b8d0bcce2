// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The part of bench_sandbox that goes through E2B's JavaScript SDK, unmodified. One JSON line per sample.
import { Sandbox } from 'e2b'

const [what, count, pause] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4] ?? 0)]
const sleep = (ms) => new Promise((done) => setTimeout(done, ms))
const say = (sample) => console.log(JSON.stringify(sample))

async function createToOutput() {
  const begun = performance.now()
  const sandbox = await Sandbox.create()
  const created = performance.now()
  const { stdout } = await sandbox.commands.run('echo hi')
  if (stdout !== 'hi\n') throw new Error(`wrong output: ${stdout}`)
  return { sandbox, created: created - begun, total: performance.now() - begun }
}

// What Node does once, it has done before anything is measured; and the pool has time to fill again.
async function warmUp() {
  const { sandbox } = await createToOutput()
  await sandbox.kill()
  await sleep(pause)
}

await warmUp()
if (what === 'create') {
  for (let i = 0; i < count; i++) {
    const { sandbox, created, total } = await createToOutput()
    say({ created, total })
    await sandbox.kill()
    await sleep(pause)
  }
} else if (what === 'burst') {
  const begun = performance.now()
  const all = await Promise.all(Array.from({ length: count }, createToOutput))
  say({ total: performance.now() - begun })
  await Promise.all(all.map(({ sandbox }) => sandbox.kill()))
} else if (what === 'command') {
  const sandbox = await Sandbox.create()
  await sandbox.commands.run('true')
  for (let i = 0; i < count; i++) {
    const begun = performance.now()
    await sandbox.commands.run('true')
    say({ total: performance.now() - begun })
  }
  await sandbox.kill()
}
