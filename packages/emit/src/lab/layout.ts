import { createHash } from "node:crypto"
import { open } from "node:fs/promises"
import { join } from "node:path"
import {
  type Digest,
  EvidenceError,
  hexOfDigest,
  isDigest,
  isJsonObject,
  limits,
  parseStrictJson,
} from "@envidence/core"

/** What identifies the one image of an OCI layout that the engine wrote. */
export interface LayoutIdentity {
  readonly manifestDigest: Digest
  readonly configDigest: Digest
  readonly diffIds: readonly Digest[]
  readonly config: Uint8Array
}

/** @throws EvidenceError malformed-image */
export async function readLayoutIdentity(directory: string): Promise<LayoutIdentity> {
  const index = parseStrictJson(await readBounded(join(directory, "index.json")), "index.json")
  const manifestDigest = digestAt(firstOf(member(index, "manifests")), "index.json")
  const manifest = parseStrictJson(await readBlob(directory, manifestDigest), "the image's manifest")
  const configDigest = digestAt(member(manifest, "config"), "the image's manifest")
  const config = await readBlob(directory, configDigest)
  return { manifestDigest, configDigest, diffIds: diffIdsOf(parseStrictJson(config, "the image's config")), config }
}

const malformed = (what: string) => new EvidenceError("malformed-image", `the exported image: ${what}`)

const member = (value: unknown, name: string): unknown =>
  isJsonObject(value) && Object.hasOwn(value, name) ? value[name] : undefined

function firstOf(list: unknown): unknown {
  if (!Array.isArray(list) || list.length !== 1) throw malformed("index.json does not list exactly one manifest")
  return list[0]
}

function digestAt(descriptor: unknown, what: string): Digest {
  const digest = member(descriptor, "digest")
  if (typeof digest !== "string" || !isDigest(digest)) throw malformed(`${what} has a descriptor without a digest`)
  return digest
}

function diffIdsOf(config: unknown): Digest[] {
  const list = member(member(config, "rootfs"), "diff_ids")
  if (!Array.isArray(list) || list.length > limits.layers) throw malformed("its config lists no layers, or too many")
  return list.map(id => {
    if (typeof id !== "string" || !isDigest(id)) throw malformed("its config lists a layer without a digest")
    return id
  })
}

async function readBlob(directory: string, digest: Digest): Promise<Uint8Array> {
  const bytes = await readBounded(join(directory, "blobs", "sha256", hexOfDigest(digest)))
  const found = createHash("sha256").update(bytes).digest("hex")
  if (found !== hexOfDigest(digest)) throw malformed(`blob ${digest} has other bytes`)
  return bytes
}

async function readBounded(path: string): Promise<Uint8Array> {
  const file = await open(path)
  try {
    const { size } = await file.stat()
    if (size > limits.documentBytes) throw malformed(`${path} is too large`)
    return await file.readFile()
  } finally {
    await file.close()
  }
}
