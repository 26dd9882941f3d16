import { criteria } from "../criteria/index.js"
import { EvidenceError } from "../errors.js"
import { canonicalJsonBytes, parseStrictJson } from "../json.js"
import { limits } from "../limits.js"
import { assertDocument } from "../schema/validate.js"

/**
 * One observation document. `facts` have their criterion's type once `parseObservation` has checked the schema; they are
 * empty where nobody here could read them.
 */
export interface Observation {
  readonly criterion: string
  readonly revision: number
  readonly facts: unknown
}

/**
 * Parses an observation. The facts of an unknown criterion or another revision are not kept: it will be unmeasured.
 *
 * @throws EvidenceError malformed-json, limit-exceeded, schema-violation, unexpected-member
 */
export function parseObservation(bytes: Uint8Array, path: string): Observation {
  const value = parseStrictJson(bytes, path, limits.observationTokens)
  if (!hasObservationShape(value)) throw new EvidenceError("schema-violation", `${path} is not an observation`)
  if (path !== observationPath(value.criterion))
    throw new EvidenceError("unexpected-member", `${path} holds the observation of another criterion`)
  const criterion = criteria.get(value.criterion)
  if (criterion === undefined || value.revision !== criterion.revision)
    return { criterion: value.criterion, revision: value.revision, facts: {} }
  return assertDocument(criterion.schema, value, path)
}

export const observationPath = (criterion: string): string => `observations/${criterion}.json`

export const encodeObservation = (observation: Observation): Uint8Array => canonicalJsonBytes(observation)

function hasObservationShape(value: unknown): value is Observation {
  if (typeof value !== "object" || value === null) return false
  const { criterion, revision, facts } = value as Partial<Observation>
  return typeof criterion === "string" && Number.isInteger(revision) && typeof facts === "object" && facts !== null
}
