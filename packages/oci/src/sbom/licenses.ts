import { Models, SPDX } from "@cyclonedx/cyclonedx-library"
import type { PythonDistribution } from "./python.js"

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

const LICENSE_NAME_LENGTH = 256
const EXPRESSION = /^[A-Za-z0-9.+:()\s-]{1,1024}$/
const OPERATOR = /\s(AND|OR|WITH)\s/

/** What a distribution says, most exact first: an SPDX expression, else its free text, else its classifiers. */
export function pythonLicenses(distribution: PythonDistribution): Models.License[] {
  const { licenseExpression, license, licenseClassifiers } = distribution
  if (licenseExpression !== null) return [licenseOf(licenseExpression)]
  if (license !== null) return [licenseOf(license)]
  return licenseClassifiers.map(name => licenseOf(SPDX_OF_CLASSIFIER[name] ?? name))
}

// Debian's short names (machine-readable copyright format 1.0, "Short name") where they differ from SPDX.
const GNU = /^(GPL|LGPL|AGPL|GFDL)-([123](?:\.\d)?)(?:\.0)?(\+?)$/

export const debianLicenses = (names: readonly string[]): Models.License[] =>
  names.map(name => licenseOf(spdxOfDebian(name)))

function spdxOfDebian(name: string): string {
  const [, family, version, later] = GNU.exec(name) ?? []
  if (family !== undefined && version !== undefined)
    return `${family}-${version.includes(".") ? version : `${version}.0`}-${later === "+" ? "or-later" : "only"}`
  return name === "Expat" ? "MIT" : name
}

function licenseOf(text: string): Models.License {
  const id = SPDX.fixupSpdxId(text)
  if (id !== undefined) return new Models.SpdxLicense(id)
  if (OPERATOR.test(text) && EXPRESSION.test(text) && isExpression(text)) return new Models.LicenseExpression(text)
  return new Models.NamedLicense(text.slice(0, LICENSE_NAME_LENGTH))
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
