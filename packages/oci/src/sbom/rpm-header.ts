import type { Distribution } from "./os-release.js"
import { distributionPurl, matching, type PackageFacts } from "./package-facts.js"

// rpm's file format, "Header Structure": a count of index entries, a count of data bytes, both big endian, then the
// entries of 16 bytes (tag, type, offset, count), then the data. The database leaves out the magic number.
const ENTRY_BYTES = 16
const PRELUDE_BYTES = 8
const MAX_ENTRIES = 65_536
/** Of one tag: a package with a million files is none. */
const MAX_VALUES = 1_000_000
const PATH_LENGTH = 4096

const TAG = {
  md5: 261,
  sha1Header: 269,
  sha256Header: 273,
  name: 1000,
  version: 1001,
  release: 1002,
  epoch: 1003,
  summary: 1004,
  vendor: 1011,
  license: 1014,
  architecture: 1022,
  sourceRpm: 1044,
  provideName: 1047,
  requireName: 1049,
  dirIndexes: 1116,
  baseNames: 1117,
  dirNames: 1118,
  modularity: 5096,
} as const

const INT32 = 4
const STRING = 6
const BINARY = 7
const STRING_ARRAY = 8
const I18N_STRING = 9

const NAME = /^[\x21-\x7e]{1,256}$/
const VERSION = /^[\x21-\x7e]{1,256}$/
const ARCHITECTURE = /^[A-Za-z0-9_-]{1,64}$/

/** What a header says of its package, but for the files. @throws Error, or RangeError where it points outside itself */
export function readRpmPackage(header: RpmHeader, distribution: Distribution | undefined): PackageFacts {
  const name = matching(header.string(TAG.name), NAME, "a package's name")
  const version = matching(header.string(TAG.version), VERSION, `version of ${name}`)
  const release = matching(header.string(TAG.release), VERSION, `release of ${name}`)
  const epoch = header.numbers(TAG.epoch)[0]
  const architecture = header.string(TAG.architecture)
  return {
    type: "rpm",
    name,
    version: `${epoch === undefined ? "" : `${epoch}:`}${version}-${release}`,
    purl: {
      ...distributionPurl(distribution, null, {
        // A signing key is a package too, of no architecture.
        arch: architecture === null ? null : matching(architecture, ARCHITECTURE, `architecture of ${name}`),
        epoch: epoch === undefined ? null : String(epoch),
        upstream: header.string(TAG.sourceRpm),
      }),
      version: `${version}-${release}`,
    },
    licenses: [header.string(TAG.license) ?? ""],
    publisher: header.string(TAG.vendor),
    description: header.string(TAG.summary),
    properties: properties(header),
    ...relations(header),
  }
}

// None is a hash of the file that was delivered: MD5 leaves out its first part, the others are of the header alone.
function properties(header: RpmHeader): [string, string][] {
  const found: [string, string | null][] = [
    ["rpm:sigmd5", header.binary(TAG.md5)?.toString("hex") ?? null],
    ["rpm:sha1header", header.string(TAG.sha1Header)],
    ["rpm:sha256header", header.string(TAG.sha256Header)],
    ["rpm:modularity", header.string(TAG.modularity)],
  ]
  return found.filter((entry): entry is [string, string] => entry[1] !== null && entry[1].length <= 1024)
}

function relations(header: RpmHeader): Pick<PackageFacts, "requires" | "provides"> {
  // `rpmlib(…)` is rpm's own, and "(a if b)" a condition.
  const requires = header.strings(TAG.requireName).filter(name => !/^\(|^rpmlib\(/.test(name))
  return { requires, provides: header.strings(TAG.provideName) }
}

interface Entry {
  readonly type: number
  readonly offset: number
  readonly count: number
}

/** One package's header out of rpm's database. */
export class RpmHeader {
  readonly #entries = new Map<number, Entry>()
  readonly #data: Buffer

  /** @throws Error, or RangeError where it breaks off */
  constructor(blob: Buffer) {
    const entries = blob.readUInt32BE(0)
    const dataBytes = blob.readUInt32BE(4)
    const start = PRELUDE_BYTES + entries * ENTRY_BYTES
    if (entries === 0 || entries > MAX_ENTRIES || start + dataBytes > blob.length)
      throw new Error("a package's header breaks off")
    this.#data = blob.subarray(start, start + dataBytes)
    for (let at = PRELUDE_BYTES; at < start; at += ENTRY_BYTES) {
      const tag = blob.readUInt32BE(at)
      const [type, offset, count] = [at + 4, at + 8, at + 12].map(field => blob.readUInt32BE(field))
      // rpm takes the first of two; what was added after installation follows the signed region.
      if (!this.#entries.has(tag)) this.#entries.set(tag, { type: type ?? 0, offset: offset ?? 0, count: count ?? 0 })
    }
  }

  /** Those of the package's files that are asked for. */
  filesAmong(wanted: ReadonlySet<string>): string[] {
    const directories = this.strings(TAG.dirNames)
    const indexes = this.numbers(TAG.dirIndexes)
    const found: string[] = []
    for (const [i, base] of this.strings(TAG.baseNames).entries()) {
      const directory = directories[indexes[i] ?? -1] ?? ""
      if (directory.length + base.length > PATH_LENGTH) continue
      const path = `${directory}${base}`
      if (wanted.has(path)) found.push(path)
    }
    return found
  }

  string(tag: number): string | null {
    const entry = this.#entries.get(tag)
    if (entry === undefined) return null
    // Translations follow the first, which is not translated.
    const wanted = entry.type === STRING || entry.type === I18N_STRING || entry.type === STRING_ARRAY
    if (!wanted) throw malformed(tag)
    return this.#strings(entry, 1)[0] ?? null
  }

  strings(tag: number): string[] {
    const entry = this.#entries.get(tag)
    if (entry === undefined) return []
    if (entry.type !== STRING_ARRAY || entry.count > MAX_VALUES) throw malformed(tag)
    return this.#strings(entry, entry.count)
  }

  numbers(tag: number): number[] {
    const entry = this.#entries.get(tag)
    if (entry === undefined) return []
    if (entry.type !== INT32 || entry.count > MAX_VALUES || entry.offset + 4 * entry.count > this.#data.length)
      throw malformed(tag)
    return Array.from({ length: entry.count }, (_, i) => this.#data.readUInt32BE(entry.offset + 4 * i))
  }

  binary(tag: number): Buffer | null {
    const entry = this.#entries.get(tag)
    if (entry === undefined) return null
    if (entry.type !== BINARY || entry.offset + entry.count > this.#data.length) throw malformed(tag)
    return this.#data.subarray(entry.offset, entry.offset + entry.count)
  }

  // Each string costs a byte at least, so the data bounds a count that lies.
  #strings({ offset, count }: Entry, wanted: number): string[] {
    const strings: string[] = []
    for (let at = offset; strings.length < Math.min(count, wanted); ) {
      const end = this.#data.indexOf(0, at)
      if (end < 0 || at >= this.#data.length) throw new Error("a package's header has a string without end")
      strings.push(this.#data.toString("utf8", at, end).toWellFormed())
      at = end + 1
    }
    return strings
  }
}

const malformed = (tag: number) => new Error(`a package's header has tag ${tag} malformed`)
