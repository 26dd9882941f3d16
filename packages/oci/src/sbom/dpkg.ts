import type { Distribution } from "./os-release.js"
import { distributionPurl, listField, matching, NameCount, type PackageFacts } from "./package-facts.js"

const NAME = /^[a-z0-9][a-z0-9+.-]{0,255}$/
const VERSION = /^[A-Za-z0-9.+:~-]{1,255}$/
const ARCHITECTURE = /^[a-z0-9-]{1,64}$/
const SOURCE = /^([a-z0-9][a-z0-9+.-]{0,255})(?: \(([A-Za-z0-9.+:~-]{1,255})\))?$/

/**
 * Reads `var/lib/dpkg/status` (deb-control(5) stanzas with a Status field), or one file of `status.d`, which has none.
 * Licences lie elsewhere.
 *
 * @throws Error where a stanza is not one
 */
export function parseDpkgStatus(text: string, distribution: Distribution | undefined): PackageFacts[] {
  const packages: PackageFacts[] = []
  const names = new NameCount()
  for (const stanza of text.split(/\n[ \t]*\n/)) {
    if (stanza.trim() === "") continue
    const fields = parseFields(stanza)
    if (!isInstalled(fields.get("status"))) continue
    const found = readPackage(fields, distribution)
    names.add(found)
    packages.push(found)
  }
  return packages
}

function parseFields(stanza: string): Map<string, string> {
  const fields = new Map<string, string>()
  for (const line of stanza.split("\n")) {
    // Continuation lines belong to descriptions and file lists, which are not read.
    if (line === "" || line.startsWith(" ") || line.startsWith("\t")) continue
    const colon = line.indexOf(":")
    if (colon <= 0) throw new Error(`a line that is not a field: ${JSON.stringify(line.slice(0, 64))}`)
    const key = line.slice(0, colon).toLowerCase()
    if (fields.has(key)) throw new Error(`a stanza with two ${JSON.stringify(key.slice(0, 64))} fields`)
    fields.set(key, line.slice(colon + 1).trim())
  }
  return fields
}

// "want flag status": what was removed but kept its configuration is not installed.
const isInstalled = (status: string | undefined) => status === undefined || status.split(/\s+/)[2] === "installed"

function readPackage(fields: ReadonlyMap<string, string>, distribution: Distribution | undefined): PackageFacts {
  const name = matching(fields.get("package"), NAME, "Package")
  const source = SOURCE.exec(fields.get("source") ?? "")
  return {
    type: "deb",
    name,
    version: matching(fields.get("version"), VERSION, `Version of ${name}`),
    purl: distributionPurl(distribution, "debian", {
      arch: matching(fields.get("architecture"), ARCHITECTURE, `Architecture of ${name}`),
      // Advisories are about source packages.
      upstream: source === null ? null : [source[1], source[2]].filter(part => part !== undefined).join("@"),
    }),
    licenses: [],
    publisher: fields.get("maintainer") ?? null,
    requires: [...relations(fields.get("pre-depends")), ...relations(fields.get("depends"))],
    provides: relations(fields.get("provides")),
  }
}

/** The names in "a (>= 1) | b:any, c [amd64]": of alternatives all, since each that is installed serves. */
const relations = (field: string | undefined): string[] =>
  listField(field)
    .split(/[,|]/)
    .map(relation => /^\s*([a-z0-9][a-z0-9+.-]*)/.exec(relation)?.[1] ?? "")
    .filter(name => name !== "")
