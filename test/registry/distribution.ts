// The distribution project's registry, a real one, on a port of this machine.
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as pause } from "node:timers/promises"
import { findGoProgram } from "../lab/go-program.ts"

const found = findGoProgram({
  name: "registry",
  version: "3.0.0",
  module: "github.com/distribution/distribution/v3/cmd/registry",
})
const program = "program" in found ? found.program : ""

/** Why there is none; empty where there is. */
export const missingRegistry = "missing" in found ? found.missing : ""

export interface Distribution {
  /** `127.0.0.1:PORT` */
  readonly host: string
  stop(): Promise<void>
}

/** Starts one with empty storage; `auth` is that part of its configuration. */
export async function startDistribution(auth: object | null = null): Promise<Distribution> {
  const folder = mkdtempSync(join(tmpdir(), "envidence-registry-"))
  const host = `127.0.0.1:${await freePort()}`
  const config = {
    version: 0.1,
    log: { level: "error" },
    storage: { filesystem: { rootdirectory: join(folder, "storage") } },
    http: { addr: host },
    ...(auth === null ? {} : { auth }),
  }
  // JSON is YAML.
  writeFileSync(join(folder, "config.yml"), JSON.stringify(config))
  const child = spawn(program, ["serve", join(folder, "config.yml")], {
    env: { PATH: "/usr/bin:/bin", OTEL_TRACES_EXPORTER: "none" },
    stdio: ["ignore", "ignore", "pipe"],
  })
  const stop = () => end(child).finally(() => rmSync(folder, { recursive: true, force: true }))
  await ready(child, host).catch(async error => {
    await stop()
    throw error
  })
  return { host, stop }
}

async function ready(child: ChildProcess, host: string): Promise<void> {
  let said = ""
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    said = (said + text).slice(-2000)
  })
  for (let tries = 0; tries < 200; tries++) {
    if (child.exitCode !== null) throw new Error(`the registry ended: ${said}`)
    if (
      await fetch(`http://${host}/v2/`).then(
        response => response.status < 500,
        () => false,
      )
    )
      return
    await pause(50)
  }
  throw new Error(`the registry does not answer: ${said}`)
}

/** Ends a child that this test started. */
export async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise(resolve => child.once("exit", resolve))
  child.kill("SIGTERM")
  const timer = setTimeout(() => child.kill("SIGKILL"), 10_000)
  await ended
  clearTimeout(timer)
}

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer()
    server.once("error", reject)
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0))
    })
  })

export interface Pushed {
  readonly repository: string
  readonly tag: string
  readonly authorization?: string
}

/** Pushes a layout's image, byte for byte (distribution specification 1.1, "Pushing blobs monolithically"). */
export async function pushLayout(
  directory: string,
  host: string,
  { repository, tag, authorization }: Pushed,
): Promise<void> {
  const headers: Record<string, string> = authorization === undefined ? {} : { authorization }
  const blob = (digest: string) => readFileSync(join(directory, "blobs", ...digest.split(":")))
  const send = async (url: URL | string, method: string, body: Buffer | null, type: string): Promise<Response> => {
    const content = body === null ? null : new Uint8Array(body)
    const response = await fetch(url, { method, body: content, headers: { ...headers, "content-type": type } })
    if (!response.ok) throw new Error(`${method} ${String(url)}: ${response.status} ${await response.text()}`)
    return response
  }
  const push = async (digest: string) => {
    const started = await send(`http://${host}/v2/${repository}/blobs/uploads/`, "POST", null, "text/plain")
    const url = new URL(started.headers.get("location") ?? "", `http://${host}`)
    url.searchParams.set("digest", digest)
    await send(url, "PUT", blob(digest), "application/octet-stream")
  }
  const index = JSON.parse(readFileSync(join(directory, "index.json"), "utf8"))
  const [{ digest, mediaType }] = index.manifests
  const manifest = JSON.parse(blob(digest).toString())
  for (const { digest: name } of [manifest.config, ...manifest.layers]) await push(name)
  await send(`http://${host}/v2/${repository}/manifests/${tag}`, "PUT", blob(digest), mediaType)
}
