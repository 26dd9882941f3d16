// A program of its own, started inside a container's network namespace: it listens on one unix socket and forwards to
// one port of that namespace's loopback. It ends when its standard input does, so that it never outlives its parent.
import { chmodSync } from "node:fs"
import { connect, createServer, type Socket } from "node:net"
import { argv, exit, stdin, stdout } from "node:process"

const CONNECTION_LIMIT = 256

const [socketPath = "", portText = ""] = argv.slice(2)
const port = Number(portText)
if (!socketPath.startsWith("/") || !Number.isInteger(port) || port < 1 || port > 65_535) exit(2)

stdin.resume()
stdin.on("end", () => exit(0))
stdin.on("error", () => exit(0))

const server = createServer({ allowHalfOpen: true }, client => {
  const target = connect({ host: "127.0.0.1", port, allowHalfOpen: true })
  join(client, target)
  join(target, client)
})

function join(from: Socket, to: Socket): void {
  from.setNoDelay(true)
  from.pipe(to)
  from.on("error", () => to.destroy())
  from.on("close", hadError => hadError && to.destroy())
}

server.maxConnections = CONNECTION_LIMIT
server.on("error", () => exit(1))
server.listen(socketPath, () => {
  chmodSync(socketPath, 0o600)
  stdout.write("ready\n")
})
