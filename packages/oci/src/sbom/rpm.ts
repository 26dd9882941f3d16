import { readBerkeleyHash } from "./berkeley-db.js"
import { readNdb } from "./ndb.js"
import type { Distribution } from "./os-release.js"
import { NameCount, type PackageFacts } from "./package-facts.js"
import { RpmHeader, readRpmPackage } from "./rpm-header.js"
import { readSqliteTable } from "./sqlite.js"

const MAX_PACKAGES = 100_000

/**
 * Reads rpm's database in whichever of its three formats the bytes are.
 *
 * @throws Error where it is none, or one of its packages is broken
 */
export function parseRpmDatabase(file: Buffer, distribution: Distribution | undefined): PackageFacts[] {
  const found = readHeaders(file)
  const packages = found.map(header => readRpmPackage(header, distribution))
  const names = new NameCount()
  for (const facts of packages) names.add(facts)
  // `Requires: /bin/sh`: of all files, only those that a package asks for count as provided.
  const files = new Set(packages.flatMap(({ requires }) => requires.filter(name => name.startsWith("/"))))
  return packages.map((facts, i) => ({
    ...facts,
    provides: [...facts.provides, ...(found[i]?.filesAmong(files) ?? [])],
  }))
}

function readHeaders(file: Buffer): RpmHeader[] {
  const found: RpmHeader[] = []
  // Rows may share their pages in a file made to deceive: the headers together are no larger than the file.
  let bytes = 0
  for (const header of headers(file)) {
    bytes += header.length
    if (bytes > file.length) throw new Error("its packages are larger than the file")
    if (found.length === MAX_PACKAGES) throw new Error(`it lists more than ${MAX_PACKAGES} packages`)
    found.push(new RpmHeader(header))
  }
  return found
}

function headers(file: Buffer): Iterable<Buffer> {
  const start = file.toString("latin1", 0, 6)
  if (start === "SQLite") return sqliteHeaders(file)
  return start.startsWith("RpmP") ? readNdb(file) : berkeleyHeaders(file)
}

function* sqliteHeaders(file: Buffer): Generator<Buffer> {
  for (const row of readSqliteTable(file, "Packages")) {
    const blob = row[1]
    if (!Buffer.isBuffer(blob)) throw new Error("its table of packages has a row without a header")
    yield blob
  }
}

// Key 0 holds the number that the next package gets.
function* berkeleyHeaders(file: Buffer): Generator<Buffer> {
  for (const { key, value } of readBerkeleyHash(file)) if (key.some(byte => byte !== 0)) yield value
}
