import { main } from "./main.js"

const interruption = new AbortController()
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
  process.on(name, () => {
    // Who asks twice does not want to wait for the cleaning up: the next run does it.
    if (interruption.signal.aborted) process.exit(1)
    interruption.abort()
  })
// Whoever reads is gone (a closed pipe, a closed terminal): stop, clean up, and say nothing more.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => interruption.abort())

process.exitCode = await main(process.argv.slice(2), {
  stdout: text => process.stdout.write(text),
  stderr: text => process.stderr.write(text),
  isTerminal: process.stderr.isTTY === true,
  env: process.env,
  now: () => new Date(),
  signal: interruption.signal,
  nodePath: process.execPath,
  nodeVersion: process.versions.node,
  // Images are large, and /tmp is often kept in memory.
  temporaryDirectory: process.env.TMPDIR ?? "/var/tmp",
})
