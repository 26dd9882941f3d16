/** One installed Debian package. */
export interface DebianPackage {
  readonly name: string
  readonly version: string
  readonly architecture: string
  /** The source package, with its version where it differs. */
  readonly source: string | null
  readonly maintainer: string | null
  readonly homepage: string | null
}

const NAME = /^[a-z0-9][a-z0-9+.-]{0,255}$/
const VERSION = /^[A-Za-z0-9.+:~-]{1,255}$/
const ARCHITECTURE = /^[a-z0-9-]{1,64}$/
const SOURCE = /^([a-z0-9][a-z0-9+.-]{0,255})(?: \(([A-Za-z0-9.+:~-]{1,255})\))?$/

/**
 * Reads `var/lib/dpkg/status` (deb-control(5) stanzas with a Status field), or one file of `status.d`, which has none.
 *
 * @throws Error where a stanza is not one
 */
export function parseDpkgStatus(text: string): DebianPackage[] {
  const packages: DebianPackage[] = []
  for (const stanza of text.split(/\n[ \t]*\n/)) {
    if (stanza.trim() === "") continue
    const fields = parseFields(stanza)
    if (isInstalled(fields.get("status"))) packages.push(readPackage(fields))
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

function readPackage(fields: ReadonlyMap<string, string>): DebianPackage {
  const name = matching(fields.get("package"), NAME, "Package")
  const source = SOURCE.exec(fields.get("source") ?? "")
  return {
    name,
    version: matching(fields.get("version"), VERSION, `Version of ${name}`),
    architecture: matching(fields.get("architecture"), ARCHITECTURE, `Architecture of ${name}`),
    source: source === null ? null : [source[1], source[2]].filter(part => part !== undefined).join("@"),
    maintainer: fields.get("maintainer") ?? null,
    homepage: fields.get("homepage") ?? null,
  }
}

function matching(value: string | undefined, pattern: RegExp, what: string): string {
  if (value !== undefined && pattern.test(value)) return value
  throw new Error(`${what} is missing or malformed`)
}
