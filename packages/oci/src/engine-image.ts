import { mkdtemp, open, rm } from "node:fs/promises"
import { type IncomingMessage, request } from "node:http"
import { userInfo } from "node:os"
import { join } from "node:path"
import { EvidenceError } from "@envidence/core"
import { readDockerArchive } from "./docker-archive.js"
import type { OpenedImage } from "./opened-image.js"
import { TarFile } from "./tar-file.js"

export type EngineName = "podman" | "docker"

export interface EngineOptions {
  /** CONTAINER_HOST, DOCKER_HOST, XDG_RUNTIME_DIR, HOME: where the engine listens. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** Where the engine's export is kept while the image is open: a file without name, gone whatever happens. */
  readonly temporaryDirectory: string
  readonly signal?: AbortSignal
}

const EXPORT_BYTES = 64 * 1024 ** 3
// An engine writes the whole export before it answers.
const SILENCE_MS = 600_000

/**
 * Opens an image of the user's engine by its HTTP interface over a Unix socket (`GET /images/NAME/get` of Docker's API
 * 1.24 and later, which podman has too): no program is started.
 *
 * @throws EvidenceError engine-failed, input-not-found, usage for a socket that is no Unix socket, malformed-image
 */
export async function openEngineImage(engine: EngineName, name: string, options: EngineOptions): Promise<OpenedImage> {
  const response = await askEngine(engine, `/images/${encodeURIComponent(name)}/get`, options)
  if (response.statusCode !== 200) throw await refusal(engine, name, response)
  return readDockerArchive(await keepExport(response, `${engine}:${name}`, options))
}

/** Into a file that has no name any more: when this process ends, in whatever way, it is gone. */
async function keepExport(body: IncomingMessage, what: string, { temporaryDirectory, signal }: EngineOptions) {
  const folder = await mkdtemp(join(temporaryDirectory, "envidence-image-"))
  const handle = await open(join(folder, "export.tar"), "wx+", 0o600).finally(() =>
    rm(folder, { recursive: true, force: true }),
  )
  try {
    let size = 0
    for await (const chunk of body as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > EXPORT_BYTES) throw new EvidenceError("limit-exceeded", `${what} is larger than ${EXPORT_BYTES} bytes`)
      await handle.writeFile(chunk)
    }
  } catch (cause) {
    await handle.close()
    body.destroy()
    if (signal?.aborted) throw new EvidenceError("interrupted", "interrupted")
    if (cause instanceof EvidenceError) throw cause
    throw new EvidenceError("engine-failed", `the export of ${what} broke off: ${reasonOf(cause)}`, { cause })
  }
  return TarFile.from(what, handle)
}

async function askEngine(engine: EngineName, path: string, options: EngineOptions): Promise<IncomingMessage> {
  const refusals: string[] = []
  for (const socketPath of socketsOf(engine, options.env)) {
    try {
      return await get(socketPath, path, options.signal)
    } catch (cause) {
      if (options.signal?.aborted) throw new EvidenceError("interrupted", "interrupted")
      refusals.push(`${socketPath}: ${reasonOf(cause)}`)
    }
  }
  throw new EvidenceError("engine-failed", `${engine} does not listen here (${refusals.join("; ")})`, {
    hint: HINTS[engine],
  })
}

const HINTS: Readonly<Record<EngineName, string>> = {
  podman: "Start its service (systemctl --user start podman.socket), or use podman save and docker-archive:FILE.",
  docker: "Start the Docker daemon, or use docker save and docker-archive:FILE.",
}

const get = (socketPath: string, path: string, signal: AbortSignal | undefined): Promise<IncomingMessage> =>
  new Promise((resolve, reject) => {
    const options = { socketPath, path, headers: { host: "localhost" }, ...(signal === undefined ? {} : { signal }) }
    const sent = request(options, resolve)
    sent.setTimeout(SILENCE_MS, () => sent.destroy(new Error("it took too long")))
    sent.on("error", reject)
    sent.end()
  })

/** Where the engine is to be found: only where the user says, if the user says. @throws EvidenceError usage */
function socketsOf(engine: EngineName, env: EngineOptions["env"]): readonly string[] {
  const name = engine === "podman" ? "CONTAINER_HOST" : "DOCKER_HOST"
  const told = env[name]
  if (told) {
    const path = /^unix:\/\/(\/.+)$/.exec(told)?.[1]
    if (path !== undefined) return [path]
    throw new EvidenceError("usage", `${name} is no Unix socket on this machine (unix:///PATH)`)
  }
  const runtime = env.XDG_RUNTIME_DIR || `/run/user/${userInfo().uid}`
  return engine === "podman"
    ? [join(runtime, "podman", "podman.sock"), "/run/podman/podman.sock"]
    : [
        "/var/run/docker.sock",
        join(runtime, "docker.sock"),
        ...(env.HOME ? [join(env.HOME, ".docker", "run", "docker.sock")] : []),
      ]
}

const MESSAGE_BYTES = 4096

async function refusal(engine: EngineName, name: string, response: IncomingMessage): Promise<EvidenceError> {
  let said = Buffer.alloc(0)
  for await (const chunk of response as AsyncIterable<Buffer>) {
    said = Buffer.concat([said, chunk]).subarray(0, MESSAGE_BYTES)
    if (said.length === MESSAGE_BYTES) break
  }
  // Podman answers 500 with the cause of a name that it does not know; docker 404.
  const isUnknown = response.statusCode === 404 || /no such image|image not known|No such image/i.test(said.toString())
  if (isUnknown) return new EvidenceError("input-not-found", `${engine} has no image ${name}`)
  return new EvidenceError("engine-failed", `${engine} answers ${response.statusCode} when asked for ${name}`)
}

const reasonOf = (cause: unknown): string =>
  String((cause as { code?: unknown } | null)?.code ?? (cause as Error | null)?.message ?? cause).slice(0, 200)
