import { main } from "./main.js"

// A closed pipe (`| head`) is no reason for a stack trace. An acceptance that could not be printed was not reported.
let isUnread = false
for (const stream of [process.stdout, process.stderr])
  stream.on("error", () => {
    isUnread = true
    process.exitCode ||= 1
  })

const exitCode = await main(process.argv.slice(2), {
  stdout: text => process.stdout.write(text),
  stderr: text => process.stderr.write(text),
  stdin: () => process.stdin,
  now: () => new Date(),
  env: process.env,
  // Images are large, and /tmp is often kept in memory.
  temporaryDirectory: process.env.TMPDIR ?? "/var/tmp",
})
process.exitCode = exitCode === 0 && isUnread ? 1 : exitCode
