import { execFileSync } from "node:child_process"
import { copyFileSync, cpSync, mkdirSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"

const SERVER = `
import { createServer } from "node:http"
import { WebSocketServer } from "ws"

const fault = process.env.FAULT
if (fault === "exit") { console.log("asset missing"); process.exit(3) }
const action = { type: "object", properties: { move: { enum: ["left", "right"] }, metadata: { type: "object" } }, required: ["move"] }
const server = createServer((request, response) => {
  if (request.url !== "/schema") response.writeHead(404).end()
  else response.end(JSON.stringify({ action }))
})
let sessions = 0
new WebSocketServer({ server, path: "/ws" }).on("connection", socket => {
  const session = sessions++
  let [x, goal, steps, resets, episode] = [0, 0, 0, 0, ""]
  const observe = reward => {
    const metadata = { time: process.hrtime.bigint().toString() }
    const drift = { session: { n: session }, container: { n: process.env.HOSTNAME }, reset: { n: resets } }[fault] ?? {}
    const observation = { x, goal, metadata, ...drift }
    socket.send(JSON.stringify({ type: "observation", data: { observation, reward, done: steps === 5, metadata } }))
  }
  socket.on("message", bytes => {
    const { type, data } = JSON.parse(bytes)
    if (type === "reset") {
      [x, steps, episode] = [0, 0, data.episode_id]
      resets++
      goal = fault === "seedless" ? 1 : (data.seed * 7) % 5
      observe(null)
    } else if (type === "step") {
      x += data.move === "left" ? -1 : 1
      steps++
      if (fault === "dies" && steps === 3) { console.log("out of parcels"); process.exit(4) }
      observe(fault === "null" ? null : x === goal ? 1 : 0)
    } else if (type === "state") socket.send(JSON.stringify({ type: "state", data: { episode_id: episode, step_count: steps } }))
    else socket.close(1000)
  })
})
server.listen(8000)
`

/**
 * A build context with this very Node and the libraries it loads, on which a small environment runs: no base image and
 * no network are needed. The variable FAULT makes the environment misbehave.
 */
export function writeNodeContext(directory: string, modulesDirectory: string): void {
  const root = join(directory, "root")
  mkdirSync(join(root, "app", "node_modules"), { recursive: true })
  mkdirSync(join(root, "tmp"))
  const node = process.execPath
  const libraries = execFileSync("ldd", [node], { encoding: "utf8" }).match(/(?<=\s)\/\S+(?= \()/g) ?? []
  for (const path of libraries) copy(path, join(root, path))
  copy(node, join(root, "node"))
  cpSync(join(modulesDirectory, "ws"), join(root, "app", "node_modules", "ws"), { recursive: true })
  writeFileSync(join(root, "app", "server.mjs"), SERVER)
  writeFileSync(
    join(directory, "Dockerfile"),
    ["FROM scratch", "COPY root /", 'CMD ["/node", "/app/server.mjs"]', ""].join("\n"),
  )
}

function copy(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true })
  copyFileSync(from, to)
}
