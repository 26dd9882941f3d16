// What a liar does who can sign: changes members or the statement, and makes the digests agree again.
import type { ArchiveMember, UnsignedState } from "@envidence/core"
import { sha256 } from "./image.ts"

// biome-ignore lint/suspicious/noExplicitAny: tests break documents at any place.
export type LooseJson = any

export interface Rewriting {
  /** By path: new bytes, or null to leave the member out. A path that was not there is added. */
  readonly members?: Readonly<Record<string, Uint8Array | string | null>>
  /** Role of an added member, by path; `artifact` where none is given. */
  readonly roles?: Readonly<Record<string, string>>
  readonly manifest?: (manifest: LooseJson) => void
  readonly predicate?: (predicate: LooseJson) => void
  readonly statement?: (statement: LooseJson) => void
}

const MANIFEST = "manifest.json"

/** Rewrites what was asked, then manifest.json and what the statement says of it. */
export function rewrite(state: UnsignedState, changes: Rewriting): UnsignedState {
  const members = changedMembers(state, changes.members ?? {})
  const manifest = JSON.parse(text(bytesOf(state.members, MANIFEST)))
  const rows = new Map<string, object>(manifest.members.map((row: { path: string }) => [row.path, row]))
  manifest.members = members.map(({ path, bytes }) => ({
    mediaType: "application/octet-stream",
    role: changes.roles?.[path] ?? "artifact",
    ...rows.get(path),
    path,
    size: bytes.length,
    sha256: sha256(bytes),
  }))
  changes.manifest?.(manifest)
  const manifestBytes = Buffer.from(JSON.stringify(manifest))
  const statement = JSON.parse(text(state.statement))
  statement.predicate.manifest = { digest: `sha256:${sha256(manifestBytes)}`, files: manifest.members.length }
  for (const subject of statement.subject)
    if (subject.name === MANIFEST) subject.digest = { sha256: sha256(manifestBytes) }
  changes.predicate?.(statement.predicate)
  changes.statement?.(statement)
  return {
    members: [{ path: MANIFEST, bytes: manifestBytes }, ...members],
    statement: Buffer.from(JSON.stringify(statement)),
  }
}

/** An observation changed, and the predicate naming it as it now is. */
export function rewriteObservation(
  state: UnsignedState,
  id: string,
  change: (observation: LooseJson) => void,
): UnsignedState {
  const path = `observations/${id}.json`
  const observation = JSON.parse(text(bytesOf(state.members, path)))
  change(observation)
  const bytes = JSON.stringify(observation)
  return rewrite(state, {
    members: { [path]: bytes },
    predicate: ({ criteria }) => {
      const row = criteria.find((candidate: { id: string }) => candidate.id === id)
      Object.assign(row, { observation: `sha256:${sha256(bytes)}`, revision: observation.revision })
    },
  })
}

export const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("utf8")

export function bytesOf(members: readonly ArchiveMember[], path: string): Uint8Array {
  const member = members.find(candidate => candidate.path === path)
  if (member === undefined) throw new Error(`no member ${path}`)
  return member.bytes
}

/** A JSON member with a change. */
export function changedJson(state: UnsignedState, path: string, change: (document: LooseJson) => void): string {
  const document = JSON.parse(text(bytesOf(state.members, path)))
  change(document)
  return JSON.stringify(document)
}

function changedMembers(state: UnsignedState, changes: NonNullable<Rewriting["members"]>): ArchiveMember[] {
  const kept = new Map(state.members.filter(({ path }) => path !== MANIFEST).map(member => [member.path, member.bytes]))
  for (const [path, bytes] of Object.entries(changes)) {
    if (bytes === null) kept.delete(path)
    else kept.set(path, Buffer.from(bytes))
  }
  return [...kept].map(([path, bytes]) => ({ path, bytes })).sort((a, b) => (a.path < b.path ? -1 : 1))
}
