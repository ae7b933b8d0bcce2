// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The control API through the JavaScript SDK, unmodified; TINDERBOX_E2B_JS says which of the installed
// generations: 2.45 speaks v1 with defaults of its own, 2.51 speaks v2 and leaves out what nobody set.
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'

const e2b = await import(process.env.TINDERBOX_E2B_JS)
const { Sandbox, SandboxError, NotFoundError, SandboxNotFoundError } = e2b
const isNew = process.env.TINDERBOX_E2B_JS === 'e2b'
const unknown = 'i00000000000000000000'
const kind = { of: `js-${process.env.TINDERBOX_E2B_JS}`, 'a b': 'c&d=é' }
const sleep = (ms) => new Promise((done) => setTimeout(done, ms))
let sandbox

const own = async (use, options = {}) => {
  const one = await Sandbox.create({ timeoutMs: 300_000, ...options })
  try {
    await use(one)
  } finally {
    await one.kill()
  }
}
const until = async (condition, what, ms = 10_000) => {
  for (const end = Date.now() + ms; Date.now() < end; await sleep(50)) if (await condition()) return
  assert.fail(`not within ${ms} ms: ${what}`)
}
const remaining = (info) => (info.endAt.getTime() - Date.now()) / 1000
const near = (value, wanted, delta = 5) => assert.ok(Math.abs(value - wanted) <= delta, `${value} is not near ${wanted}`)
const bootId = async (one) => (await one.commands.run('cat /proc/sys/kernel/random/boot_id')).stdout

before(async () => {
  sandbox = await Sandbox.create({ timeoutMs: 300_000, metadata: kind })
})
after(async () => {
  await sandbox?.kill()
})

describe('create and info', () => {
  test('what was asked for is told', async () => {
    const info = await sandbox.getInfo()
    assert.deepEqual([info.sandboxId, info.name, info.state, info.metadata], [sandbox.sandboxId, 'base', 'running', kind])
    near(remaining(info), 300, 60)
    assert.ok(info.cpuCount > 0 && info.memoryMB >= 128)
    assert.equal(info.allowInternetAccess, true)
  })
  test('lifecycle: pause at the end of its time, resumed by traffic', async () => {
    await own(async (one) => {
      assert.deepEqual((await one.getInfo()).lifecycle, { onTimeout: 'pause', autoResume: true })
      await one.setTimeout(1000)
      await until(async () => (await Sandbox.getInfo(one.sandboxId)).state === 'paused', 'paused', 6000)
      assert.equal((await one.commands.run('echo awake')).stdout, 'awake\n')
    }, { lifecycle: { onTimeout: 'pause', autoResume: true } })
  })
  test('an unknown template', async () => {
    await assert.rejects(Sandbox.create('no-such'), (error) => error instanceof SandboxError && /template 'no-such' not found/.test(error.message))
  })
  test('an unknown sandbox: not found, and false for a kill', async () => {
    for (const call of [() => Sandbox.getInfo(unknown), () => Sandbox.setTimeout(unknown, 5000), () => Sandbox.connect(unknown),
      () => Sandbox.pause(unknown), () => Sandbox.getMetrics(unknown), () => Sandbox.createSnapshot(unknown),
      () => Sandbox.updateNetwork(unknown, {}), () => Sandbox.fork(unknown)]) {
      await assert.rejects(call(), (error) => error instanceof SandboxNotFoundError || error instanceof NotFoundError)
    }
    assert.equal(await Sandbox.kill(unknown), false)
    assert.equal(await Sandbox.deleteSnapshot('no-such:default'), false)
  })
})

describe('list', () => {
  const all = async (options) => {
    const paginator = Sandbox.list(options)
    const found = []
    while (paginator.hasNext) found.push(...(await paginator.nextItems()))
    return found.map((info) => info.sandboxId)
  }
  test('by metadata with special characters, state, template and start', async () => {
    const { startedAt } = await sandbox.getInfo()
    for (const query of [{ metadata: kind }, { metadata: kind, state: ['running', 'paused'] }, { metadata: kind, template: 'base' },
      { metadata: kind, startedAfter: startedAt }]) {
      assert.deepEqual(await all({ query }), [sandbox.sandboxId], JSON.stringify(query))
    }
    for (const query of [{ metadata: { ...kind, more: '1' } }, { metadata: kind, state: ['paused'] }, { metadata: kind, template: 'no-such' },
      { metadata: kind, startedAfter: new Date(startedAt.getTime() + 1) }]) {
      assert.deepEqual(await all({ query }), [], JSON.stringify(query))
    }
  })
  test('in pages, in both orders', async () => {
    await own(async (one) => {
      const newest = [one.sandboxId, sandbox.sandboxId]
      assert.deepEqual(await all({ query: { metadata: kind }, limit: 1 }), newest)
      assert.deepEqual(await all({ query: { metadata: kind }, limit: 1, order: 'asc' }), newest.toReversed())
    }, { metadata: kind })
  })
})

describe('timeout and connect', () => {
  test('a timeout shortens, a connect does not', async () => {
    await own(async (one) => {
      await one.setTimeout(60_000)
      near(remaining(await one.getInfo()), 60)
      await Sandbox.connect(one.sandboxId, { timeoutMs: 20_000 })
      near(remaining(await one.getInfo()), 60)
      const again = await Sandbox.connect(one.sandboxId, { timeoutMs: 200_000 })
      near(remaining(await again.getInfo()), 200)
      assert.equal((await again.commands.run('echo same')).stdout, 'same\n')
    })
  })
})

describe('pause and resume', () => {
  test('true, then false; what ran goes on under the same id and token', async () => {
    await own(async (one) => {
      const cat = await one.commands.run('exec cat', { background: true, stdin: true, timeoutMs: 0 })
      assert.equal(await one.pause(), true)
      assert.equal(await one.pause(), false)
      assert.equal(await one.isRunning(), false)
      assert.equal((await Sandbox.getInfo(one.sandboxId)).state, 'paused')
      await assert.rejects(one.commands.run('true'), /Sandbox is probably not running anymore/)
      const again = await Sandbox.connect(one.sandboxId)
      assert.equal(again.sandboxId, one.sandboxId)
      assert.ok((await one.commands.list()).some((process) => process.pid === cat.pid), 'by the object that was there before')
    })
  })
  test('of the disk alone: another boot, the same data', async () => {
    await own(async (one) => {
      await one.files.write('kept', 'on disk')
      const before = await bootId(one)
      assert.equal(await one.pause({ keepMemory: false }), true)
      await one.connect()
      assert.equal(await one.files.read('kept'), 'on disk')
      assert.notEqual(await bootId(one), before)
    })
  })
  test('a reboot drops the memory', { skip: !isNew && 'the old generation has no onResume' }, async () => {
    await own(async (one) => {
      await one.files.write('/dev/shm/lost', 'x')
      const before = await bootId(one)
      await one.pause()
      await one.connect({ onResume: 'reboot' })
      assert.equal(await one.files.exists('/dev/shm/lost'), false)
      assert.notEqual(await bootId(one), before)
    })
  })
  test('a paused one is killed', async () => {
    const one = await Sandbox.create({ timeoutMs: 60_000 })
    await one.pause()
    assert.equal(await one.kill(), true)
    assert.equal(await one.kill(), false)
  })
})

describe('fork', () => {
  test('children with the same memory and disk and a token of their own', async () => {
    await own(async (one) => {
      await one.files.write('/dev/shm/kept', 'shared')
      const forks = await one.fork({ count: 2, timeoutMs: 60_000 })
      try {
        assert.equal(new Set([one, ...forks].map((each) => each.sandboxId)).size, 3)
        for (const fork of forks) {
          assert.equal(await fork.files.read('/dev/shm/kept'), 'shared')
          assert.equal((await fork.commands.run('echo $E2B_SANDBOX_ID')).stdout.trim(), fork.sandboxId)
          near(remaining(await fork.getInfo()), 60, 15)
        }
      } finally {
        for (const fork of forks) await fork.kill()
      }
    })
  })
})

describe('snapshot', () => {
  test('is made, listed, created from and deleted', async () => {
    await own(async (one) => {
      await one.files.write('kept', 'in it')
      const snapshot = await one.createSnapshot()
      try {
        const listed = await Sandbox.listSnapshots({ sandboxId: one.sandboxId }).nextItems()
        assert.deepEqual(listed.map((each) => each.snapshotId), [snapshot.snapshotId])
        const child = await Sandbox.create(snapshot.snapshotId, { timeoutMs: 60_000 })
        assert.equal(await child.files.read('kept'), 'in it')
        await child.kill()
      } finally {
        assert.equal(await Sandbox.deleteSnapshot(snapshot.snapshotId), true)
      }
      assert.equal(await Sandbox.deleteSnapshot(snapshot.snapshotId), false)
    })
  })
})

describe('metrics and network', () => {
  test('metrics, and none of a time before it was', async () => {
    let items = []
    await until(async () => (items = await sandbox.getMetrics()).length > 0, 'a sample')
    assert.ok(items[0].memUsed < items[0].memTotal && items[0].cpuCount > 0)
    const { startedAt } = await sandbox.getInfo()
    assert.deepEqual(await sandbox.getMetrics({ start: new Date(startedAt - 7200_000), end: new Date(startedAt - 3600_000) }), [])
  })
  test('network rules are replaced', async () => {
    await own(async (one) => {
      await one.updateNetwork({ denyOut: ['203.0.113.0/24'], allowOut: ['203.0.113.7'] })
      const { network } = await one.getInfo()
      assert.deepEqual([network.denyOut, network.allowOut], [['203.0.113.0/24'], ['203.0.113.7']])
      await one.updateNetwork({ allowInternetAccess: false })
      assert.equal((await one.getInfo()).allowInternetAccess, false)
      await assert.rejects(one.updateNetwork({ denyOut: ['example.com'] }), SandboxError)
    })
  })
})
