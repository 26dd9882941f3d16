import type { Distribution } from "./os-release.js"

export type PackageType = "apk" | "cargo" | "deb" | "golang" | "npm" | "pypi" | "rpm"

/** What a package's database says of it, in the terms of every ecosystem. */
export interface PackageFacts {
  readonly type: PackageType
  readonly name: string
  /** Null where the database has none, as of a program that Go built from a checkout. */
  readonly version: string | null
  readonly purl: PurlParts
  /** As written: SPDX expressions, short names or free text, each one alternative of none. */
  readonly licenses: readonly string[]
  readonly publisher?: string | null
  readonly description?: string | null
  /** Hashes of the package as it was delivered, in hexadecimal. */
  readonly hashes?: readonly (readonly ["MD5" | "SHA-1" | "SHA-256" | "SHA-512", string])[]
  /** Names below `envidence:`. */
  readonly properties?: readonly (readonly [string, string])[]
  /** Names that it needs of others in the same database, and that it offers them beside its own. */
  readonly requires: readonly string[]
  readonly provides: readonly string[]
}

/** The parts of a package URL that are not the name and version as written. */
export interface PurlParts {
  readonly namespace: string | null
  readonly name?: string
  /** Where it is not the version as written. */
  readonly version?: string
  readonly qualifiers?: Readonly<Record<string, string>>
}

/** The parts that packages of a Linux distribution have (purl-spec, types deb, apk and rpm). */
export function distributionPurl(
  distribution: Distribution | undefined,
  vendor: string | null,
  qualifiers: Readonly<Record<string, string | null>>,
): PurlParts {
  const distro = distribution && [distribution.id, distribution.versionId].filter(Boolean).join("-")
  const known = Object.entries({ ...qualifiers, distro: distro ?? null }).filter(entry => entry[1] !== null)
  return { namespace: distribution?.id ?? vendor, qualifiers: Object.fromEntries(known) as Record<string, string> }
}

/** A value that a pattern accepts. @throws Error naming what is missing or malformed */
export function matching(value: string | null | undefined, pattern: RegExp, what: string): string {
  if (typeof value === "string" && pattern.test(value)) return value
  throw new Error(`${what} is missing or malformed`)
}

/** A list of names in one field, which costs many times its bytes once it is taken apart. */
const LIST_LENGTH = 4_194_304

/** A field that is a list, empty where it is missing. @throws Error where it is too long to be one */
export function listField(field: string | undefined): string {
  if (field !== undefined && field.length > LIST_LENGTH) throw new Error("a list of names is too long to be one")
  return field ?? ""
}

/** Names in one database by which its packages need each other; texlive whole has a tenth of it. */
const MAX_NAMES = 1_000_000

/** Counts what packages need and offer, since a few bytes of a database make a name that costs many. */
export class NameCount {
  #names = 0

  /** @throws Error where there are too many */
  add({ requires, provides }: Pick<PackageFacts, "requires" | "provides">): void {
    this.#names += requires.length + provides.length
    if (this.#names > MAX_NAMES) throw new Error(`its packages name each other more than ${MAX_NAMES} times`)
  }
}
