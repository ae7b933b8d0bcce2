// Output as it comes, input, and a command in the background.
import { Sandbox } from 'e2b'

const sandbox = await Sandbox.create({ timeoutMs: 120_000 })

await sandbox.commands.run('for i in 1 2 3; do echo step $i; sleep 0.3; done; echo done >&2', {
  onStdout: (text) => process.stdout.write(`out: ${text}`),
  onStderr: (text) => process.stdout.write(`err: ${text}`),
})

// A command that goes on while we do something else, and reads what we send.
const sort = await sandbox.commands.run('sort', { background: true, stdin: true })
for (const line of ['pear\n', 'apple\n', 'fig\n']) await sandbox.commands.sendStdin(sort.pid, line)
await sandbox.commands.closeStdin(sort.pid)
process.stdout.write((await sort.wait()).stdout)

await sandbox.kill()
