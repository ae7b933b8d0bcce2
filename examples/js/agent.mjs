// An agent's loop: run generated code, show its author what happened, until it works.
//
// A fixed list of snippets stands in for a model here, as a model would write them: wrong first, then
// better. Put the call of your model into `generate`.
import { CommandExitError, Sandbox } from 'e2b'

const task = 'Print the ten largest primes below 1000, as a JSON list.'
const attempts = [
  'import sympy\nprint(list(sympy.primerange(1000))[-10:])',
  'primes = [n for n in range(2, 1000) if all(n % d for d in range(2, n))\nprint(primes[-10:])',
  'import json\nprimes = [n for n in range(2, 1000) if all(n % d for d in range(2, int(n ** .5) + 1))]\n' +
    'print(json.dumps(primes[-10:]))',
]

// The next program; `history` holds each earlier one and what became of it.
const generate = async (task, history) => attempts[history.length]

const sandbox = await Sandbox.create({ timeoutMs: 120_000 })
const history = []
while (history.length < attempts.length) {
  const code = await generate(task, history)
  await sandbox.files.write('attempt.py', code)
  try {
    const result = await sandbox.commands.run('python3 attempt.py', { timeoutMs: 20_000 })
    console.log(`attempt ${history.length + 1}: ${result.stdout.trim()}`)
    break
  } catch (error) {
    if (!(error instanceof CommandExitError)) throw error
    console.log(`attempt ${history.length + 1}: ${error.stderr.trim().split('\n').at(-1)}`)
    history.push({ code, error: error.stderr })
  }
}
await sandbox.kill()
