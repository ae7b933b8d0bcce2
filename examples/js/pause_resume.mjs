// A sandbox that is paused costs no memory and no CPU, and goes on where it was.
import { Sandbox } from 'e2b'

const sandbox = await Sandbox.create({ timeoutMs: 120_000 })
const counter = 'i=0; while true; do i=$((i+1)); echo $i > /tmp/new; mv /tmp/new /tmp/count; sleep 0.1; done'
const counting = await sandbox.commands.run(counter, { background: true, timeoutMs: 0 })
await sandbox.commands.run('until [ -s /tmp/count ]; do sleep 0.1; done')
await counting.disconnect()

await sandbox.pause()
console.log('running:', await sandbox.isRunning())

await sandbox.connect({ timeoutMs: 120_000 }) // resumes it
const before = Number(await sandbox.files.read('/tmp/count'))
await sandbox.commands.run('sleep 1')
const after = Number(await sandbox.files.read('/tmp/count'))
const pids = (await sandbox.commands.list()).map((process) => process.pid)
console.log('the same process counts on:', after > before, pids.includes(counting.pid))
await sandbox.kill()
