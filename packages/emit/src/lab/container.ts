import { randomBytes } from "node:crypto"
import { readFileSync, readlinkSync } from "node:fs"
import { rm } from "node:fs/promises"
import { join } from "node:path"
import { EvidenceError } from "@envidence/core"
import { execa } from "execa"
import type { RunningContainer, RunRequest } from "./engine.js"
import { redactLine } from "./log.js"
import { EnvironmentProblem } from "./problem.js"
import { type ProcessOptions, type ProcessResult, throwIfInterrupted } from "./process.js"

/** What a container needs of the engine that starts it. */
export interface ContainerHost {
  /** @throws EvidenceError engine-failed where it ends with anything but 0 */
  run(args: readonly string[], options: Omit<ProcessOptions, "env">): Promise<ProcessResult>
  /** The same, and any exit code is an answer. */
  attempt(args: readonly string[], options: Omit<ProcessOptions, "env">): Promise<ProcessResult>
  readonly env: Readonly<Record<string, string>>
  readonly socketDirectory: string
  readonly nodePath: string
  readonly rootless: boolean
}

const START_SECONDS = 120
// A run that is killed leaves its container behind; this ends it.
const LIFETIME_SECONDS = 6 * 3600

/** Starts an image with no network but its own loopback, which is reached through a unix socket. */
export async function startContainer(
  image: string,
  request: RunRequest,
  host: ContainerHost,
): Promise<RunningContainer> {
  const id = randomBytes(6).toString("hex")
  const name = `envidence-${id}`
  const socketPath = join(host.socketDirectory, `${id}.sock`)
  const stopContainer = () => removeContainer(name, socketPath, host)
  try {
    await create(name, image, request, host)
    const pid = await processOf(name, host, request.signal)
    if (pid !== null && !host.rootless) requireUnprivileged(pid)
    const stopForwarder = pid === null ? nothing : await forward(pid, name, socketPath, request, host)
    const container = new Container(name, pid, socketPath, host, async () => {
      for (const line of await container.lastLines()) request.log.write(`container: ${line}`)
      await stopForwarder()
      await stopContainer()
    })
    return container
  } catch (error) {
    await stopContainer()
    throw error
  }
}

const nothing = () => Promise.resolve()

// podman-run(1), "EXIT STATUS": 126 and 127 are the image's command's fault, others are the engine's.
async function create(name: string, image: string, request: RunRequest, host: ContainerHost): Promise<void> {
  const options = { timeoutSeconds: START_SECONDS, signal: request.signal }
  const { exitCode, tail } = await host.attempt(runArguments(name, image, request), options)
  if (exitCode === 0) return
  const said = redactLine(tail.at(-1) ?? `exit code ${exitCode}`).slice(0, 400)
  if (exitCode === 126 || exitCode === 127)
    throw new EnvironmentProblem("container-does-not-start", `the image's command can't be started: ${said}`)
  throw new EvidenceError("engine-failed", `podman run: ${said}`)
}

/** An image may name its user, and the name may be another one of root's. */
function requireUnprivileged(pid: number): void {
  const uid = /^Uid:\s+(\d+)/m.exec(readOrEmpty(`/proc/${pid}/status`))?.[1]
  if (uid === "0") throw new EnvironmentProblem("runs-as-root", "the image's own user is uid 0 under another name")
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, "latin1")
  } catch {
    return ""
  }
}

const runArguments = (name: string, image: string, request: RunRequest) => [
  "run",
  "--detach",
  `--name=${name}`,
  "--pull=never",
  "--network=none",
  "--read-only",
  "--cap-drop=ALL",
  "--security-opt=no-new-privileges",
  "--tmpfs=/tmp",
  `--memory=${request.memoryMegabytes}m`,
  `--pids-limit=${request.processes}`,
  `--timeout=${LIFETIME_SECONDS}`,
  "--no-healthcheck",
  "--http-proxy=false",
  "--log-driver=k8s-file",
  "--log-opt=max-size=1mb",
  ...(request.user === null ? [] : [`--user=${request.user}`]),
  ...Object.entries(request.env).map(([key, value]) => `--env=${key}=${value}`),
  "--",
  image,
]

/** The container's first process on this machine; null where it has ended already. */
async function processOf(name: string, host: ContainerHost, signal?: AbortSignal): Promise<number | null> {
  const args = ["inspect", "--type=container", "--format={{.State.Running}} {{.State.Pid}}", name]
  const { stdout } = await host.run(args, { timeoutSeconds: 30, ...(signal ? { signal } : {}) })
  const [running, pid] = stdout.trim().split(" ")
  return running === "true" && Number(pid) > 0 ? Number(pid) : null
}

/** Starts the forwarder inside the container's network; resolves, when it listens, to what stops it. */
async function forward(
  pid: number,
  name: string,
  socketPath: string,
  request: RunRequest,
  host: ContainerHost,
): Promise<() => Promise<void>> {
  const program = join(import.meta.dirname, "forwarder.js")
  const enter = ["nsenter", `--target=${pid}`, "--net", "--", host.nodePath, program, socketPath, String(request.port)]
  const [file = "", ...args] = host.rootless ? ["podman", "unshare", ...enter] : enter
  const child = execa(file, args, {
    env: host.env,
    extendEnv: false,
    cleanup: false,
    stdin: "pipe",
    buffer: false,
    reject: false,
    forceKillAfterDelay: 1000,
  })
  // It ends by itself when its standard input ends, as it does when this process is killed.
  const stop = async () => {
    child.kill()
    await child
  }
  try {
    await listening(child.stdout, child, request.signal)
    // A process that ended in between may have left its number to another one, in another network.
    if ((await processOf(name, host, request.signal)) === pid) requireOwnNetwork(pid)
    return stop
  } catch (error) {
    await stop()
    // A container that ends at once takes its network with it: that is the environment's problem, not the engine's.
    if (hasEnded(pid)) return nothing
    throw error
  }
}

async function listening(
  stdout: NodeJS.ReadableStream,
  ended: PromiseLike<{ exitCode?: number }>,
  signal: AbortSignal,
): Promise<void> {
  const ready = new Promise<"ready">(resolve => stdout.once("data", () => resolve("ready")))
  const limit = new Promise<"late">(resolve => setTimeout(resolve, 15_000, "late").unref())
  const aborted = new Promise<"aborted">(resolve =>
    signal.addEventListener("abort", () => resolve("aborted"), { once: true }),
  )
  const outcome = await Promise.race([ready, limit, aborted, ended.then(() => "ended" as const)])
  throwIfInterrupted(signal)
  if (outcome !== "ready")
    throw new EvidenceError("engine-failed", "the forwarder into the container's network did not start", {
      hint: "nsenter (util-linux) and the right to enter the container's network namespace are needed",
    })
}

function requireOwnNetwork(pid: number): void {
  if (readlinkSync(`/proc/${pid}/ns/net`) === readlinkSync("/proc/self/ns/net"))
    throw new EvidenceError("engine-failed", "the container shares this machine's network")
}

async function removeContainer(name: string, socketPath: string, host: ContainerHost): Promise<void> {
  // Nothing to report: the engine's folder is removed with everything in it, at the latest when the engine is closed.
  await host
    .run(["rm", "--force", "--ignore", "--time=0", "--volumes", name], { timeoutSeconds: 60 })
    .catch(() => undefined)
  await rm(socketPath, { force: true })
}

class Container implements RunningContainer {
  readonly socketPath: string
  readonly #name: string
  readonly #pid: number | null
  readonly #host: ContainerHost
  readonly #remove: () => Promise<void>
  #stopping: Promise<void> | undefined

  constructor(name: string, pid: number | null, socketPath: string, host: ContainerHost, remove: () => Promise<void>) {
    this.#name = name
    this.#pid = pid
    this.socketPath = socketPath
    this.#host = host
    this.#remove = remove
  }

  isRunning(): boolean {
    if (this.#pid === null || this.#stopping !== undefined) return false
    return !hasEnded(this.#pid)
  }

  async lastLines(): Promise<readonly string[]> {
    const result = await this.#host
      .run(["logs", "--tail=20", this.#name], { timeoutSeconds: 20, outputBytes: 1_048_576 })
      .catch(() => undefined)
    return (result?.tail ?? []).map(line => redactLine(line).slice(0, 300))
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#remove()
    return this.#stopping
  }
}

function hasEnded(pid: number): boolean {
  const stat = readOrEmpty(`/proc/${pid}/stat`)
  return stat === "" || /^ [ZX] /.test(stat.slice(stat.lastIndexOf(")") + 1))
}
