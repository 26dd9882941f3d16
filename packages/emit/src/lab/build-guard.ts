import { createHash } from "node:crypto"
import { lstat } from "node:fs/promises"
import { join } from "node:path"
import { EvidenceError, limits, parseStrictJson } from "@envidence/core"
import { findLinkOut, readBoundedFile } from "@envidence/oci"
import { baseReferences, mountProblem, usesMounts } from "./dockerfile.js"
import { type BuildRequest, declaredArguments } from "./engine.js"

/** What guarding a build needs of the engine. */
export interface GuardedEngine {
  readonly buildahVersion: string
  /** Folders of its image storages that hold images' configs. */
  readonly imageFolders: readonly string[]
  /** The id of an image, fetched where it is not on this machine. @throws EvidenceError build-failed */
  imageId(reference: string): Promise<string>
}

// Releases of buildah: 1.35.1 mends CVE-2024-1753, 1.37.4 CVE-2024-9407, 1.38.0 CVE-2024-9675, 1.38.1 CVE-2024-11218.
// Distributions mend older ones without a new number, which cannot be told apart.
const MENDED = [1, 38, 1] as const

/** Whether this buildah is known to keep the mounts of `RUN` inside build and context. */
export function hasSafeMounts(version: string): boolean {
  const numbers = /^(\d+)\.(\d+)\.(\d+)(?![\d.]*-)/.exec(version)?.slice(1).map(Number)
  if (numbers === undefined) return false
  const index = MENDED.findIndex((number, at) => numbers[at] !== number)
  return index < 0 || (numbers[index] ?? 0) > (MENDED[index] ?? 0)
}

/**
 * Refuses a staged submission whose build would reach this machine's files through the engine.
 *
 * @throws EvidenceError invalid-submission; build-failed where a base image is not to be had
 */
export async function demandHarmlessBuild(request: BuildRequest, engine: GuardedEngine): Promise<void> {
  await demandPlainIgnoreFiles(request)
  const dockerfile = await readDockerfile(request)
  const isMended = hasSafeMounts(engine.buildahVersion)
  const text = isMended ? dockerfile : [dockerfile, ...(await baseTriggers(dockerfile, request, engine))].join("\n")
  if (usesMounts(text)) await demandContainedLinks(request.contextDirectory)
  const problem = isMended ? undefined : mountProblem(text)
  if (problem !== undefined) throw refusal(`${request.dockerfile}: RUN --mount uses ${problem}`, engine)
}

async function readDockerfile({ contextDirectory, dockerfile }: BuildRequest): Promise<string> {
  const path = join(contextDirectory, dockerfile)
  const found = await lstat(path).catch(() => undefined)
  if (found?.isFile() !== true) throw new EvidenceError("invalid-submission", `${dockerfile} is not a regular file`)
  return Buffer.from(await readBoundedFile(path, limits.sourceTextBytes)).toString("utf8")
}

// The engine reads these itself, on this machine, and quotes in its messages what it does not understand.
async function demandPlainIgnoreFiles({ contextDirectory, dockerfile }: BuildRequest): Promise<void> {
  const names = [".containerignore", ".dockerignore"].flatMap(name => [name, `${dockerfile}${name}`])
  for (const name of names) {
    const found = await lstat(join(contextDirectory, name)).catch(() => undefined)
    if (found !== undefined && !found.isFile())
      throw new EvidenceError("invalid-submission", `${name} is not a regular file`, { hint: "Make it one." })
  }
}

async function demandContainedLinks(contextDirectory: string): Promise<void> {
  const link = await findLinkOut(contextDirectory)
  if (link === undefined) return
  const which = `${JSON.stringify(link.path.slice(0, 256))} -> ${JSON.stringify(link.target.slice(0, 256))}`
  throw new EvidenceError("invalid-submission", `the symbolic link ${which} leads out of the build context`, {
    hint: "RUN --mount would follow it on the machine that builds: remove the link, or use COPY instead of --mount.",
  })
}

const refusal = (what: string, { buildahVersion }: GuardedEngine) =>
  new EvidenceError(
    "invalid-submission",
    `${what}, which reaches this machine's files under buildah ${buildahVersion}`,
    {
      hint: "Update podman (buildah 1.38.1 or later, podman 5.3.2), or use COPY --from instead of the mount.",
    },
  )

/** ONBUILD instructions of the base images: they run as if the Dockerfile had them. */
async function baseTriggers(text: string, request: BuildRequest, engine: GuardedEngine): Promise<string[]> {
  const bases = baseReferences(text, declaredArguments(request))
  if ("problem" in bases)
    throw new EvidenceError(
      "invalid-submission",
      `${request.dockerfile}: ${bases.problem}, so its base image cannot be checked under buildah ${engine.buildahVersion}`,
      { hint: "Write FROM with the image's plain name, or update podman (buildah 1.38.1 or later)." },
    )
  const triggers: string[] = []
  for (const reference of bases.references)
    triggers.push(...(await triggersOf(reference, await engine.imageId(reference), engine)))
  return triggers
}

// The engine does not print an image's triggers; its storage has the config under the image's id, which is its digest.
async function triggersOf(reference: string, id: string, engine: GuardedEngine): Promise<string[]> {
  const name = `=${Buffer.from(`sha256:${id}`).toString("base64")}`
  for (const folder of engine.imageFolders) {
    const bytes = await readBoundedFile(join(folder, id, name), limits.documentBytes).catch(() => undefined)
    if (bytes === undefined || createHash("sha256").update(bytes).digest("hex") !== id) continue
    return collectTriggers(parseStrictJson(bytes, `the config of ${reference}`))
  }
  throw refusal(`the base image ${reference} may have ONBUILD instructions, and its config cannot be read`, engine)
}

// The engine takes names in any case.
function collectTriggers(value: unknown): string[] {
  if (typeof value !== "object" || value === null) return []
  return Object.entries(value).flatMap(([key, inner]) =>
    key.toLowerCase() === "onbuild" ? [inner].flat(1).map(String) : collectTriggers(inner),
  )
}
