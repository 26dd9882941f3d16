import { matching, type PackageFacts } from "./package-facts.js"

const NAME = /^(?:@([a-zA-Z0-9._~-]{1,214})\/)?([a-zA-Z0-9._~!'()*-]{1,214})$/
const VERSION = /^[0-9A-Za-z][0-9A-Za-z.+_-]{0,255}$/
const INTEGRITY = /^sha512-([A-Za-z0-9+/]{86}==)(?:\s|$)/

type Hashes = NonNullable<PackageFacts["hashes"]>

type Manifest = Readonly<Record<string, unknown>>

/** Reads a package.json. @throws Error where it is no JSON object, or names no package and version */
export function parsePackageJson(text: string): PackageFacts {
  const manifest: unknown = JSON.parse(text.replace(/^\uFEFF/, ""))
  if (!isObject(manifest)) throw new Error("it is not a JSON object")
  const name = matching(textOf(manifest.name), NAME, "name")
  const [, scope, bare] = NAME.exec(name) ?? []
  return {
    type: "npm",
    name,
    version: matching(textOf(manifest.version), VERSION, `version of ${name}`),
    purl: { namespace: scope === undefined ? null : `@${scope}`, name: bare ?? name },
    licenses: licenses(manifest),
    publisher: author(manifest.author),
    description: textOf(manifest.description),
    // npm before version 7 wrote down the tarball's.
    hashes: hashesOf(manifest._integrity),
    requires: ["dependencies", "optionalDependencies", "peerDependencies"].flatMap(key => keysOf(manifest[key])),
    provides: [],
  }
}

/**
 * Reads npm's own note of what it installed, `node_modules/.package-lock.json` (npm 7 and later): the hashes of the
 * tarballs, by the package's folder as seen from where node_modules is.
 */
export function parseInstalledLock(text: string): ReadonlyMap<string, Hashes> {
  const lock: unknown = JSON.parse(text)
  const packages = isObject(lock) ? lock.packages : undefined
  const entries = isObject(packages) ? Object.entries(packages) : []
  return new Map(entries.map(([folder, value]) => [folder, hashesOf(isObject(value) ? value.integrity : undefined)]))
}

function hashesOf(integrity: unknown): Hashes {
  const base64 = INTEGRITY.exec(textOf(integrity) ?? "")?.[1]
  return base64 === undefined ? [] : [["SHA-512", Buffer.from(base64, "base64").toString("hex")]]
}

const isObject = (value: unknown): value is Manifest =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const textOf = (value: unknown): string | null => (typeof value === "string" ? value : null)

const keysOf = (value: unknown): string[] => (isObject(value) ? Object.keys(value).filter(key => NAME.test(key)) : [])

// An expression today; before, an object with a type, or several under another name.
function licenses(manifest: Manifest): string[] {
  const several = manifest.licenses
  const stated = [manifest.license, ...(Array.isArray(several) ? several.slice(0, 64) : [])]
  return stated.map(one => textOf(isObject(one) ? one.type : one) ?? "").filter(text => text.trim() !== "")
}

const author = (value: unknown) => textOf(isObject(value) ? value.name : value)
