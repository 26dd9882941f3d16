import { Models, SPDX } from "@cyclonedx/cyclonedx-library"
import type { PackageFacts } from "./package-facts.js"

const LICENSE_NAME_LENGTH = 256
const EXPRESSION = /^[A-Za-z0-9.+:()\s-]{1,1024}$/
const OPERATOR = /\s(AND|OR|WITH)\s/

/** What a package says of its licences, by SPDX where it can be. */
export function licensesOf({ type, licenses }: PackageFacts): Models.License[] {
  const texts = licenses.filter(text => text.trim() !== "").map(text => (type === "deb" ? spdxOfDebian(text) : text))
  // CycloneDX has one expression or a list of licences, never an expression in a list.
  return texts.map(text => licenseOf(text, texts.length === 1))
}

// Debian's short names (machine-readable copyright format 1.0, "Short name") where they differ from SPDX.
const GNU = /^(GPL|LGPL|AGPL|GFDL)-([123](?:\.\d)?)(?:\.0)?(\+?)$/

function spdxOfDebian(name: string): string {
  const [, family, version, later] = GNU.exec(name) ?? []
  if (family !== undefined && version !== undefined)
    return `${family}-${version.includes(".") ? version : `${version}.0`}-${later === "+" ? "or-later" : "only"}`
  return name === "Expat" ? "MIT" : name
}

function licenseOf(text: string, mayBeExpression: boolean): Models.License {
  const id = SPDX.fixupSpdxId(text)
  if (id !== undefined) return new Models.SpdxLicense(id)
  if (mayBeExpression && OPERATOR.test(text) && EXPRESSION.test(text) && isExpression(text))
    return new Models.LicenseExpression(text)
  return new Models.NamedLicense(text.slice(0, LICENSE_NAME_LENGTH).toWellFormed())
}

// SPDX specification 3.0 annex B: every word is an operator, a known licence, a reference of the author's, or after WITH
// an exception.
function isExpression(text: string): boolean {
  if (!isBalanced(text)) return false
  const words = text.replace(/[()]/g, " ").trim().split(/\s+/)
  return words.every((word, i) => {
    if (i % 2 === 1) return word === "AND" || word === "OR" || word === "WITH"
    return words[i - 1] === "WITH" || word.startsWith("LicenseRef-") || SPDX.isSupportedSpdxId(word.replace(/\+$/, ""))
  })
}

function isBalanced(text: string): boolean {
  let depth = 0
  for (const character of text) {
    if (character === "(") depth++
    if (character === ")" && --depth < 0) return false
  }
  return depth === 0
}
