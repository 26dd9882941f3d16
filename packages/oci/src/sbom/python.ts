/** What an installed Python distribution says of itself (core metadata specification, version 2.4). */
export interface PythonDistribution {
  readonly name: string
  readonly version: string
  readonly summary: string | null
  /** `License-Expression`: SPDX. */
  readonly licenseExpression: string | null
  /** `License`: free text. */
  readonly license: string | null
  /** The `License ::` classifiers, last part. */
  readonly licenseClassifiers: readonly string[]
}

// PEP 508 names; PEP 440 versions, and what installers from before it let through.
const NAME = /^[A-Za-z0-9]([A-Za-z0-9._-]{0,254}[A-Za-z0-9])?$/
const VERSION = /^[A-Za-z0-9][A-Za-z0-9.!+_-]{0,254}$/

/** Reads METADATA or PKG-INFO: e-mail headers (RFC 822), then a description that is not read. @throws Error */
export function parsePythonMetadata(text: string): PythonDistribution {
  const headers = parseHeaders(text)
  const first = (key: string) => headers.get(key)?.[0] ?? null
  return {
    name: matching(first("name"), NAME, "Name"),
    version: matching(first("version"), VERSION, "Version"),
    summary: known(first("summary")),
    licenseExpression: known(first("license-expression")),
    license: known(first("license")),
    licenseClassifiers: (headers.get("classifier") ?? [])
      .filter(classifier => classifier.startsWith("License ::"))
      .map(classifier => classifier.split("::").at(-1)?.trim() ?? "")
      .filter(name => name !== "" && name !== "OSI Approved"),
  }
}

const CONTINUATION = /^[ \t]/

function parseHeaders(text: string): Map<string, string[]> {
  const headers = new Map<string, string[]>()
  for (const line of headerLines(text)) {
    // A folded header is a licence's whole text or a long description: the first line names it.
    if (CONTINUATION.test(line)) continue
    const colon = line.indexOf(":")
    if (colon <= 0) throw new Error(`a line that is not a header: ${JSON.stringify(line.slice(0, 64))}`)
    const key = line.slice(0, colon).toLowerCase()
    const value = line.slice(colon + 1).trim()
    const earlier = headers.get(key)
    if (earlier === undefined) headers.set(key, [value])
    else earlier.push(value)
  }
  return headers
}

function headerLines(text: string): string[] {
  const end = /\r?\n\r?\n/.exec(text)
  return text
    .slice(0, end?.index)
    .split(/\r?\n/)
    .filter(line => line !== "")
}

const known = (value: string | null) => (value === null || value === "" || value === "UNKNOWN" ? null : value)

function matching(value: string | null, pattern: RegExp, what: string): string {
  if (value !== null && pattern.test(value)) return value
  throw new Error(`${what} is missing or malformed`)
}
