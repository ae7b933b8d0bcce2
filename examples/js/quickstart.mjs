// A sandbox, a command, the end.
import { CommandExitError, Sandbox } from 'e2b'

const sandbox = await Sandbox.create({ timeoutMs: 120_000 })
console.log('sandbox', sandbox.sandboxId)

const result = await sandbox.commands.run("python3 -c 'print(6 * 7)'; uname -sr")
process.stdout.write(result.stdout)

try {
  await sandbox.commands.run('echo this fails >&2; exit 3')
} catch (error) {
  if (!(error instanceof CommandExitError)) throw error
  console.log('exit code', error.exitCode, 'and it said:', error.stderr.trim())
}

await sandbox.kill()
console.log('running:', await sandbox.isRunning())
