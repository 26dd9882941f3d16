import { createHash } from "node:crypto"
import { mkdir, readdir, rename, rm } from "node:fs/promises"
import { join } from "node:path"
import {
  type ArchiveMember,
  canonicalJson,
  isKnownRole,
  type NewMember,
  packArchive,
  parseObservation,
  unpackArchive,
} from "@envidence/core"
import { nodeCompression, readBoundedFile, writeFileAtomically } from "@envidence/oci"
import type { Observed } from "./observe.js"

/** What of a run is kept for the next one of the same state, in `--work-dir`. */
export interface Checkpoint {
  /** Null where nothing is kept. */
  readonly directory: string | null
  load(id: string): Promise<Observed | undefined>
  save(id: string, observed: Observed): Promise<void>
}

export const noCheckpoint: Checkpoint = { directory: null, load: async () => undefined, save: async () => {} }

const LIMIT = 25_000_000
const ROLES = "roles.json"

/**
 * A folder for exactly this state (submission, build arguments, policy, challenge, tool version, …): with another state
 * nothing of it is taken over. `resume` false begins anew.
 */
export async function openCheckpoint(parent: string, state: unknown, resume: boolean): Promise<Checkpoint> {
  const key = createHash("sha256").update(canonicalJson(state)).digest("hex").slice(0, 32)
  const directory = join(parent, key)
  if (!resume) await rm(directory, { recursive: true, force: true })
  await mkdir(directory, { recursive: true })
  const file = (id: string) => join(directory, `${id}.tar.gz`)
  return {
    directory,
    load: async id => ((await readdir(directory)).includes(`${id}.tar.gz`) ? readObserved(file(id), id) : undefined),
    save: async (id, observed) => writeFileAtomically(file(id), await packObserved(observed)),
  }
}

/** Moves a finished folder into the checkpoint, whole or not at all. */
export async function keepFolder(
  checkpoint: Checkpoint,
  name: string,
  fill: (draft: string) => Promise<void>,
): Promise<void> {
  if (checkpoint.directory === null) return
  const kept = join(checkpoint.directory, name)
  const draft = `${kept}.draft`
  await rm(draft, { recursive: true, force: true })
  await fill(draft)
  await rm(kept, { recursive: true, force: true })
  await rename(draft, kept)
}

async function packObserved({ members }: Observed): Promise<Uint8Array> {
  const roles = members.map(({ path, role, mediaType }) => ({ path, role, mediaType: mediaType ?? null }))
  const index: ArchiveMember = { path: ROLES, bytes: Buffer.from(canonicalJson(roles)) }
  return packArchive([index, ...members], nodeCompression)
}

async function readObserved(file: string, id: string): Promise<Observed | undefined> {
  const [index, ...members] = await unpackArchive(await readBoundedFile(file, LIMIT), nodeCompression)
  const roles = JSON.parse(Buffer.from(index?.bytes ?? []).toString()) as {
    path: string
    role: string
    mediaType: string | null
  }[]
  const kept = members.flatMap(({ path, bytes }): NewMember[] => {
    const row = roles.find(candidate => candidate.path === path)
    if (row === undefined || !isKnownRole(row.role)) return []
    return [{ path, bytes, role: row.role, ...(row.mediaType !== null && { mediaType: row.mediaType }) }]
  })
  const observation = kept.find(member => member.role === "observation")
  if (observation === undefined) return undefined
  const parsed = parseObservation(observation.bytes, observation.path)
  return parsed.criterion === id ? { observation: parsed, members: kept } : undefined
}
