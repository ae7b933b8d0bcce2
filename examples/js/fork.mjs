// Several sandboxes that go on from one's memory and disk.
import { Sandbox } from 'e2b'

const sandbox = await Sandbox.create({ timeoutMs: 120_000 })
await sandbox.files.write('prepared.txt', 'expensive to make\n')

// A fork that failed is an error in the list.
const children = (await sandbox.fork({ count: 3, timeoutMs: 120_000 })).filter((child) => child instanceof Sandbox)
for (const [number, child] of children.entries()) await child.files.write('mine.txt', `child ${number}`)
for (const child of children) {
  const prepared = (await child.files.read('prepared.txt')).trim()
  console.log(child.sandboxId, prepared, '/', await child.files.read('mine.txt'))
}
console.log('the source has none of it:', !(await sandbox.files.exists('mine.txt')))

for (const each of [sandbox, ...children]) await each.kill()
