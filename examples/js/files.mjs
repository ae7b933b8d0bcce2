// Files in and out, and a directory that is watched.
import { Sandbox } from 'e2b'

const sandbox = await Sandbox.create({ timeoutMs: 120_000 })

// Missing directories are made; relative paths start at the user's home.
await sandbox.files.write('project/data.csv', 'name,count\nfig,3\n')
await sandbox.files.write([
  { path: 'project/a.txt', data: 'text' },
  { path: 'project/b.bin', data: new Uint8Array([0, 1, 2]).buffer },
])
process.stdout.write(await sandbox.files.read('project/data.csv'))
for (const entry of await sandbox.files.list('project')) {
  console.log(entry.permissions, String(entry.size).padStart(5), entry.name)
}

const watch = await sandbox.files.watchDir('project', (event) => console.log(event.type, event.name), { recursive: true })
await sandbox.commands.run('mkdir project/out && echo result > project/out/r.txt && rm project/a.txt')
await new Promise((done) => setTimeout(done, 500))
await watch.stop()

// A link that whoever has it can use without a key, for a minute.
console.log('download:', await sandbox.downloadUrl('project/data.csv', { useSignatureExpiration: 60_000 }))
await sandbox.kill()
