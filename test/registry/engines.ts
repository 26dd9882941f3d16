// podman and docker as services of the test's own: own storage, own socket, nothing of the machine's is touched.
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { request } from "node:http"
import { userInfo } from "node:os"
import { join } from "node:path"
import { setTimeout as pause } from "node:timers/promises"
import { findProgram } from "../../scripts/prerequisites.ts"
import { end } from "./distribution.ts"

export interface EngineService {
  readonly socket: string
  /** Loads what `docker save` wrote. */
  load(archive: Buffer): Promise<void>
  stop(): Promise<void>
}

export const missingPodman = findProgram("podman") === undefined ? "podman" : ""

/** docker needs root here: another daemon's folders cannot be shared. */
export const missingDocker =
  findDockerd() === undefined ? "dockerd" : userInfo().uid === 0 ? "" : "root, which dockerd needs"

function findDockerd(): string | undefined {
  return findProgram("dockerd") ?? ["/usr/sbin/dockerd", "/usr/local/sbin/dockerd"].find(path => existsSync(path))
}

export async function startPodman(): Promise<EngineService> {
  const folder = newServiceFolder()
  const conf = [
    "[engine]",
    'events_logger = "none"',
    'lock_type = "file"',
    `tmp_dir = ${JSON.stringify(join(folder, "libpod"))}`,
    ...(userInfo().uid === 0 ? ['cgroup_manager = "cgroupfs"'] : []),
    "",
  ]
  writeFileSync(join(folder, "containers.conf"), conf.join("\n"))
  const socket = join(folder, "s")
  const storage = ["--root", join(folder, "root"), "--runroot", join(folder, "run"), "--storage-driver", "vfs"]
  const child = spawn("podman", [...storage, "system", "service", "--time", "0", `unix://${socket}`], {
    env: { ...process.env, CONTAINERS_CONF: join(folder, "containers.conf"), TMPDIR: folder },
    stdio: ["ignore", "ignore", "pipe"],
  })
  return serve(child, folder, socket)
}

export async function startDocker(): Promise<EngineService> {
  const folder = newServiceFolder()
  const socket = join(folder, "s")
  const flags = [
    `--host=unix://${socket}`,
    `--data-root=${join(folder, "data")}`,
    `--exec-root=${join(folder, "exec")}`,
    `--pidfile=${join(folder, "pid")}`,
    "--iptables=false",
    "--bridge=none",
    "--storage-driver=vfs",
    "--default-ulimit=nofile=1024:1024",
  ]
  // What stands in /etc/docker is the machine's own.
  writeFileSync(join(folder, "daemon.json"), "{}")
  const child = spawn(findDockerd() ?? "", [`--config-file=${join(folder, "daemon.json")}`, ...flags], {
    env: { ...process.env, TMPDIR: folder },
    stdio: ["ignore", "ignore", "pipe"],
  })
  return serve(child, folder, socket)
}

// Short: a socket's path holds 108 bytes.
function newServiceFolder(): string {
  const folder = mkdtempSync("/var/tmp/ev-")
  mkdirSync(join(folder, "root"))
  return folder
}

async function serve(child: ChildProcess, folder: string, socket: string): Promise<EngineService> {
  let said = ""
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    said = (said + text).slice(-4000)
  })
  const stop = async () => {
    await end(child)
    // Podman leaves a mount on its own storage.
    for (const name of ["root", "data", "exec"]) spawnSync("umount", ["--recursive", "--quiet", join(folder, name)])
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
  }
  try {
    for (let tries = 0; (await ask(socket, "GET", "/_ping", null).catch(() => 0)) !== 200; tries++) {
      if (child.exitCode !== null || tries > 300) throw new Error(`no service: ${said}`)
      await pause(100)
    }
  } catch (error) {
    await stop()
    throw error
  }
  const load = async (archive: Buffer) => {
    const status = await ask(socket, "POST", "/images/load", archive)
    if (status !== 200) throw new Error(`loading failed with ${status}: ${said}`)
  }
  return { socket, load, stop }
}

const ask = (socketPath: string, method: string, path: string, body: Buffer | null): Promise<number> =>
  new Promise((resolve, reject) => {
    const headers = body === null ? {} : { "content-type": "application/x-tar", "content-length": body.length }
    const sent = request({ socketPath, method, path, headers: { host: "localhost", ...headers } }, response => {
      response.resume().on("end", () => resolve(response.statusCode ?? 0))
    })
    sent.on("error", reject).end(body)
  })
