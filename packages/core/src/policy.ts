import type { ThresholdValues } from "./criteria/criterion.js"
import type { Exceptions } from "./criteria/exception.js"
import { catalogue, criteria, isJudged } from "./criteria/index.js"
import { type Digest, sha256Digest } from "./digest.js"
import { EvidenceError } from "./errors.js"
import { normalizePath } from "./image/inventory.js"
import { canonicalJsonBytes } from "./json.js"
import { builtInPolicies } from "./policies.generated.js"
import type { PolicyDocument } from "./schema/documents.generated.js"
import { parseDocument } from "./schema/validate.js"
import type { Declaration } from "./submission/declaration.js"

export interface Requirement {
  readonly required: boolean
  readonly because: string
  readonly thresholds: ThresholdValues
  readonly exceptions: Exceptions
}

export const isBuiltInPolicy = (name: string): name is keyof typeof builtInPolicies =>
  Object.hasOwn(builtInPolicies, name)

/** Digest of a policy: sha256 of its canonical JSON. */
export const policyDigest = (policy: PolicyDocument): Promise<Digest> => sha256Digest(canonicalJsonBytes(policy))

/**
 * A built-in policy by its name, or one from a file that `read` gets.
 *
 * @throws EvidenceError invalid-policy, and what `read` throws
 */
export async function choosePolicy(
  nameOrFile: string,
  read: (file: string) => Promise<Uint8Array>,
): Promise<PolicyDocument> {
  return isBuiltInPolicy(nameOrFile) ? builtInPolicies[nameOrFile] : parsePolicy(await read(nameOrFile), nameOrFile)
}

/**
 * Reads a policy that its user chose, and refuses what it does not mean or may not ask.
 *
 * @throws EvidenceError invalid-policy
 */
export function parsePolicy(bytes: Uint8Array, what: string): PolicyDocument {
  const refuse = (why: string, cause?: unknown) => new EvidenceError("invalid-policy", `${what}: ${why}`, { cause })
  let policy: PolicyDocument
  try {
    policy = parseDocument("PolicyDocument", bytes, what)
  } catch (cause) {
    if (cause instanceof EvidenceError) throw new EvidenceError("invalid-policy", cause.message, { cause })
    throw cause
  }
  const rules = Object.values(policy.criteria)
  if (!rules.some(rule => rule.required === true)) throw refuse("it requires no criterion, so it would accept anything")
  const ids = new Set(catalogue.map(row => row.id))
  const unknown = Object.keys(policy.criteria).find(id => !ids.has(id))
  if (unknown !== undefined) throw refuse(`there is no criterion ${unknown}`)
  const loose = thresholdViolation(policy) ?? exceptionViolation(policy)
  if (loose !== undefined) throw refuse(loose)
  return policy
}

// An exception that can match nothing is a mistake that its author would find out too late.
function exceptionViolation(policy: PolicyDocument): string | undefined {
  for (const [id, { exceptions = [] }] of Object.entries(policy.criteria)) {
    if (exceptions.length > 0 && criteria.get(id)?.takesExceptions !== true) return `${id} takes no exceptions`
    const odd = exceptions.find(({ path }) => path === "" || path !== normalizePath(path))
    if (odd !== undefined) return `${id}: an exception's path is written as in the image's root, not ${odd.path}`
    const keys = new Set(exceptions.map(({ path, sha256 }) => JSON.stringify([path, sha256])))
    if (keys.size < exceptions.length) return `${id}: it grants an exception twice`
  }
  return undefined
}

/** The first threshold that the catalogue does not allow, in words; `judged` says of which criteria to look. */
export function thresholdViolation(
  policy: PolicyDocument,
  judged: (id: string) => boolean = () => true,
): string | undefined {
  for (const [id, { thresholds = {} }] of Object.entries(policy.criteria)) {
    if (!judged(id)) continue
    for (const [name, value] of Object.entries(thresholds)) {
      const known = criteria.get(id)?.thresholds
      const threshold = known !== undefined && Object.hasOwn(known, name) ? known[name] : undefined
      if (threshold === undefined) return `${id} has no threshold ${name}`
      const why = threshold.refuse(value)
      if (why !== undefined) return `${id}: ${name} ${why}`
    }
  }
  return undefined
}

/** What the policy asks of one criterion of this submission. */
export function requirementOf(policy: PolicyDocument, id: string, declaration: Declaration): Requirement {
  const rule = Object.hasOwn(policy.criteria, id) ? policy.criteria[id] : undefined
  const row = catalogue.find(candidate => candidate.id === id)
  const defaults = row !== undefined && isJudged(row) ? row.thresholds : {}
  const thresholds = Object.fromEntries(
    Object.entries(defaults).map(([name, threshold]) => [name, rule?.thresholds?.[name] ?? threshold.default]),
  )
  const name = `policy ${policy.id}/${policy.version}`
  const rest = { thresholds, exceptions: { policy: name, granted: rule?.exceptions ?? [] } }
  if (rule?.required === true) return { required: true, because: `${name} requires it`, ...rest }
  if (rule?.requiredWhen === undefined) return { required: false, because: `${name} does not require it`, ...rest }
  const { holds, because } = evaluate(rule.requiredWhen, declaration)
  return { required: holds, because: `${name} requires it when ${rule.requiredWhen}: ${because}`, ...rest }
}

const COMPARE: Readonly<Record<string, (a: number, b: number) => boolean>> = {
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  "==": (a, b) => a === b,
}

// OpenEnv's own meaning of a field that is not declared; any other that is missing leaves the condition in force.
const UNDECLARED: Readonly<Record<string, number>> = { gpus: 0 }

function evaluate(condition: string, declaration: Declaration): { holds: boolean; because: string } {
  const [fact = "", operator = "", limit = ""] = condition.split(" ")
  const name = fact.startsWith("submission.") ? fact.slice("submission.".length) : ""
  const { declared } = declaration.resources
  const value = Object.hasOwn(declared, name) ? declared[name as keyof typeof declared]?.value : undefined
  const compare = COMPARE[operator]
  if (declaration.unread.has(name)) return { holds: true, because: `${fact} cannot be read` }
  const effective = value ?? (Object.hasOwn(UNDECLARED, name) ? UNDECLARED[name] : undefined)
  if (effective === undefined || compare === undefined) return { holds: true, because: `${fact} is not declared` }
  return {
    holds: compare(effective, Number(limit)),
    because: `it is ${effective}${value === undefined ? " (not declared)" : ""}`,
  }
}
