import { matching, type PackageFacts } from "./package-facts.js"

// PEP 508 names; PEP 440 versions, and what installers from before it let through.
const NAME = /^[A-Za-z0-9]([A-Za-z0-9._-]{0,254}[A-Za-z0-9])?$/
const VERSION = /^[A-Za-z0-9][A-Za-z0-9.!+_-]{0,254}$/

/**
 * Reads METADATA or PKG-INFO (core metadata specification, version 2.4): e-mail headers (RFC 822), then a description
 * that is not read.
 *
 * @throws Error
 */
export function parsePythonMetadata(text: string): PackageFacts {
  const headers = parseHeaders(text)
  const first = (key: string) => headers.get(key)?.[0] ?? null
  const name = matching(first("name"), NAME, "Name")
  return {
    type: "pypi",
    name,
    version: matching(first("version"), VERSION, "Version"),
    purl: { namespace: null, name: normalizeProject(name) },
    licenses: licenses(headers),
    description: known(first("summary")),
    requires: (headers.get("requires-dist") ?? []).flatMap(required),
    provides: [],
  }
}

/** Names of projects are equal up to case and separators (PEP 503). */
export const normalizeProject = (name: string): string => name.toLowerCase().replace(/[-_.]+/g, "-")

// What an extra asks for is needed only by whoever asked for the extra, which no database records.
function required(requirement: string): string[] {
  const [, name, marker] = /^([A-Za-z0-9][A-Za-z0-9._-]*)[^;]*(?:;(.*))?$/.exec(requirement) ?? []
  return name === undefined || /\bextra\b/.test(marker ?? "") ? [] : [normalizeProject(name)]
}

// The classifiers that name one licence exactly; "BSD License" and its like do not.
const SPDX_OF_CLASSIFIER: Readonly<Record<string, string>> = {
  "Apache Software License": "Apache-2.0",
  "MIT License": "MIT",
  "MIT No Attribution License (MIT-0)": "MIT-0",
  "ISC License (ISCL)": "ISC",
  "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
  "Python Software Foundation License": "PSF-2.0",
  "The Unlicense (Unlicense)": "Unlicense",
  "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
  "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
  "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
}

/** What a distribution says, most exact first: an SPDX expression, else its free text, else its classifiers. */
function licenses(headers: ReadonlyMap<string, readonly string[]>): string[] {
  const stated = known(headers.get("license-expression")?.[0] ?? null) ?? known(headers.get("license")?.[0] ?? null)
  if (stated !== null) return [stated]
  return (headers.get("classifier") ?? [])
    .filter(classifier => classifier.startsWith("License ::"))
    .map(classifier => classifier.split("::").at(-1)?.trim() ?? "")
    .filter(name => name !== "" && name !== "OSI Approved")
    .map(name => SPDX_OF_CLASSIFIER[name] ?? name)
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
