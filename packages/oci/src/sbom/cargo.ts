import { inflateSync } from "node:zlib"
import { decodeUtf8 } from "@envidence/core"
import { matching, type PackageFacts } from "./package-facts.js"

export const CARGO_AUDITABLE_SECTION = ".dep-v0"

// auditable-extract's own limit.
const UNPACKED_BYTES = 8_388_608
const CRATE = /^[A-Za-z0-9_-]{1,256}$/
const VERSION = /^[0-9A-Za-z.+-]{1,256}$/
const SOURCE = /^[\x20-\x7e]{1,256}$/

interface Crate {
  readonly name: string
  readonly version: string
  readonly source: string
  readonly root: boolean
  /** Only ran while the program was built. */
  readonly build: boolean
  readonly dependencies: readonly number[]
}

/** Reads what cargo-auditable puts into a program: a list of crates as JSON, compressed by zlib. @throws Error */
export function parseCargoAuditable(bytes: Buffer): PackageFacts[] {
  const document: unknown = JSON.parse(decodeUtf8(inflate(bytes), "its list of crates"))
  const list = isObject(document) ? document.packages : undefined
  if (!Array.isArray(list)) throw new Error("its list of crates has no packages")
  const crates = list.map(readCrate)
  const keys = crates.map(key)
  return crates.filter(({ build }) => !build).map(crate => describe(crate, keys))
}

function inflate(bytes: Buffer): Buffer {
  try {
    return inflateSync(bytes, { maxOutputLength: UNPACKED_BYTES })
  } catch (cause) {
    throw new Error("its list of crates is not compressed by zlib, or is too large", { cause })
  }
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

function readCrate(value: unknown): Crate {
  if (!isObject(value)) throw new Error("its list of crates has one that is not an object")
  const { name, version, source, root, kind, dependencies } = value
  const indexes: unknown[] = Array.isArray(dependencies) ? dependencies : []
  const crate = matching(typeof name === "string" ? name : null, CRATE, "a crate's name")
  return {
    name: crate,
    version: matching(typeof version === "string" ? version : null, VERSION, `version of ${crate}`),
    source: typeof source === "string" && SOURCE.test(source) ? source : "",
    root: root === true,
    build: kind === "build",
    dependencies: [...new Set(indexes)].filter(index => Number.isSafeInteger(index)) as number[],
  }
}

// One name may stand for two versions.
const key = ({ name, version }: Crate) => `${name}@${version}`

function describe(crate: Crate, keys: readonly string[]): PackageFacts {
  const { name, version, source, root, dependencies } = crate
  return {
    type: "cargo",
    name,
    version,
    purl: { namespace: null },
    licenses: [],
    properties: [...(source === "" ? [] : [["cargo:source", source] as const]), ...(root ? [ROOT] : [])],
    requires: dependencies.map(index => keys[index]).filter(other => other !== undefined),
    provides: [key(crate)],
  }
}

const ROOT = ["cargo:root", "true"] as const
