import type { Distribution } from "./os-release.js"
import { distributionPurl, listField, matching, NameCount, type PackageFacts } from "./package-facts.js"

// One letter a field (apk-tools, "APKINDEX format" and database.c); files and their owners are not read.
const NAME = /^[a-zA-Z0-9_][a-zA-Z0-9+._-]{0,255}$/
const VERSION = /^[a-zA-Z0-9._+~:-]{1,255}$/
const ARCHITECTURE = /^[a-zA-Z0-9_-]{1,64}$/
const CHECKSUM = /^Q[12][A-Za-z0-9+/=]{1,64}$/
const READ = "PVAoLTmCDp"

/** Reads `lib/apk/db/installed`. @throws Error where an entry is not one */
export function parseApkDatabase(text: string, distribution: Distribution | undefined): PackageFacts[] {
  const packages: PackageFacts[] = []
  const names = new NameCount()
  for (const entry of text.split(/\n\n+/)) {
    const fields = parseFields(entry)
    if (fields.size === 0) continue
    const found = readPackage(fields, distribution)
    names.add(found)
    packages.push(found)
  }
  return packages
}

function parseFields(entry: string): Map<string, string> {
  const fields = new Map<string, string>()
  for (const line of entry.split("\n")) {
    if (line === "") continue
    const key = line[0] ?? ""
    if (line[1] !== ":") throw new Error(`a line that is not a field: ${JSON.stringify(line.slice(0, 64))}`)
    if (!READ.includes(key)) continue
    if (fields.has(key)) throw new Error(`an entry with two ${key} fields`)
    fields.set(key, line.slice(2))
  }
  return fields
}

function readPackage(fields: ReadonlyMap<string, string>, distribution: Distribution | undefined): PackageFacts {
  const name = matching(fields.get("P"), NAME, "P (name)")
  const architecture = fields.get("A")
  const origin = fields.get("o")
  const checksum = fields.get("C") ?? ""
  return {
    type: "apk",
    name,
    version: matching(fields.get("V"), VERSION, `V (version) of ${name}`),
    purl: distributionPurl(distribution, "alpine", {
      arch: architecture === undefined ? null : matching(architecture, ARCHITECTURE, `A (architecture) of ${name}`),
      upstream: origin !== undefined && origin !== name && NAME.test(origin) ? origin : null,
    }),
    licenses: [fields.get("L") ?? ""],
    publisher: fields.get("m") ?? null,
    description: fields.get("T") ?? null,
    // Of the package's control segment alone, so it is no hash of the package.
    properties: CHECKSUM.test(checksum) ? [["apk:checksum", checksum]] : [],
    requires: namesIn(fields.get("D")),
    provides: namesIn(fields.get("p")),
  }
}

/** Of "so:libc.so.6=1 busybox>1.2 !conflict": names without versions, and without what must not be there. */
const namesIn = (field: string | undefined): string[] =>
  listField(field)
    .split(/\s+/)
    .filter(word => word !== "" && !word.startsWith("!"))
    .map(word => word.replace(/[<>=~@].*$/s, ""))
