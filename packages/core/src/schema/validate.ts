import { EvidenceError } from "../errors.js"
import { parseStrictJson } from "../json.js"
import type { Documents } from "./documents.generated.js"
import * as compiled from "./validators.generated.js"

interface CompiledValidator {
  (value: unknown): boolean
  errors?: { instancePath: string; keyword: string; message?: string; params: Record<string, unknown> }[] | null
}

export type DocumentName = keyof Documents

const validators: Readonly<Record<DocumentName, CompiledValidator>> = compiled

/** The first rule of the schema that `value` breaks, in words; undefined where it is valid. */
export function schemaViolation(name: DocumentName, value: unknown): string | undefined {
  const validate = validators[name]
  if (validate(value)) return undefined
  const error = validate.errors?.[0]
  if (error === undefined) return "does not match its schema"
  const extra = error.params.additionalProperty ?? error.params.missingProperty
  const where = error.instancePath === "" ? "the document" : error.instancePath
  const which = typeof extra === "string" && error.keyword === "additionalProperties" ? ` (${extra.slice(0, 64)})` : ""
  return `${where} ${error.message ?? error.keyword}${which}`
}

/** @throws EvidenceError schema-violation. `what` names the document in the message. */
export function assertDocument<Name extends DocumentName>(name: Name, value: unknown, what: string): Documents[Name] {
  const violation = schemaViolation(name, value)
  if (violation !== undefined) throw new EvidenceError("schema-violation", `${what}: ${violation}`)
  return value as Documents[Name]
}

const SUPPORTED_MAJOR = "1"

/**
 * Parses a versioned document strictly. The major version is looked at first, so that a newer format is refused as
 * such and not for its unknown fields.
 *
 * @throws EvidenceError malformed-json, unsupported-version, schema-violation
 */
export function parseDocument<Name extends DocumentName>(name: Name, bytes: Uint8Array, what: string): Documents[Name] {
  const value = parseStrictJson(bytes, what)
  checkVersion(value, what)
  return assertDocument(name, value, what)
}

export function checkVersion(value: unknown, what: string): void {
  if (typeof value !== "object" || value === null || !("schemaVersion" in value)) return
  const { schemaVersion } = value
  if (typeof schemaVersion !== "string" || !/^\d{1,4}\.\d{1,4}$/.test(schemaVersion)) return
  if (schemaVersion.split(".")[0] === SUPPORTED_MAJOR) return
  throw new EvidenceError(
    "unsupported-version",
    `${what} has format version ${schemaVersion}; this program reads 1.x`,
    {
      hint: "Use a newer release of the tool.",
    },
  )
}
