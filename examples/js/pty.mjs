// A terminal in the sandbox: typed into, resized, read.
import { Sandbox } from 'e2b'

const sandbox = await Sandbox.create({ timeoutMs: 120_000 })
const terminal = await sandbox.pty.create({
  cols: 80,
  rows: 24,
  envs: { PS1: '$ ' },
  onData: (data) => process.stdout.write(data),
})
await sandbox.pty.resize(terminal.pid, { cols: 120, rows: 40 })
const type = (text) => sandbox.pty.sendInput(terminal.pid, new TextEncoder().encode(text))
await type('stty size\n')
await type('echo hello from $(tty)\n')
await type('exit\n')
await terminal.wait()
await sandbox.kill()
