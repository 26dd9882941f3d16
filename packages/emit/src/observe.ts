import {
  criteria,
  type Digest,
  deriveSeeds,
  digestOfHex,
  EvidenceError,
  encodeObservation,
  type NewMember,
  type NotObserved,
  type Observation,
  observationPath,
  type PolicyDocument,
  parseObservation,
  requirementOf,
  type StaticEvidence,
  sha256Hex,
} from "@envidence/core"
import type { Checkpoint } from "./checkpoint.js"
import type { Lab } from "./lab/lab.js"
import { BoundedLog } from "./lab/log.js"
import { type MeasuredCriterion, measuredCriteria } from "./measure/index.js"
import type { Progress } from "./progress.js"

/** What one criterion left behind. */
export interface Observed {
  readonly observation: Observation
  /** Its members in the bundle: the observation itself, artifacts, log. */
  readonly members: readonly NewMember[]
}

export interface ObservedAll {
  readonly observed: ReadonlyMap<string, Observed>
  readonly notObserved: ReadonlyMap<string, NotObserved>
}

/** Static criteria: the facts come from the very functions by which a verifier derives them again. */
export function observeStatic(evidence: StaticEvidence, wants: (id: string) => boolean): Observed[] {
  return [...criteria.values()].flatMap(criterion => {
    if (criterion.inspect === null || !wants(criterion.id)) return []
    const observation = { criterion: criterion.id, revision: criterion.revision, facts: criterion.inspect(evidence) }
    return [{ observation: check(observation), members: [observationMember(observation)] }]
  })
}

// What a verifier would refuse must not leave this machine.
const check = (observation: Observation): Observation =>
  parseObservation(encodeObservation(observation), observationPath(observation.criterion))

const observationMember = (observation: Observation): NewMember => ({
  path: observationPath(observation.criterion),
  bytes: encodeObservation(observation),
  role: "observation",
})

/** Measured criteria, one after another on the lab. What an earlier run of the same state observed is taken from there. */
export async function observeOnLab(
  lab: Lab,
  checkpoint: Checkpoint,
  progress: Progress,
  wants: (id: string) => boolean,
): Promise<ObservedAll> {
  const observed = new Map<string, Observed>()
  const notObserved = new Map<string, NotObserved>()
  const measured: readonly MeasuredCriterion<string, unknown>[] = measuredCriteria
  for (const { id, estimateSeconds, measure } of measured) {
    if (!wants(id)) continue
    const kept = await checkpoint.load(id)
    if (kept !== undefined) {
      observed.set(id, kept)
      continue
    }
    const log = new BoundedLog()
    const result = await progress.step(`observing ${id}`, estimateSeconds, () =>
      measure({ ...lab, log: tee(log, lab) }),
    )
    if ("unmeasured" in result) {
      notObserved.set(id, { skippedByContributor: false, because: result.unmeasured })
      continue
    }
    const revision = criteria.get(id)?.revision ?? 0
    const observation = check({ criterion: id, revision, facts: result.facts })
    const members: NewMember[] = [observationMember(observation)]
    for (const { name, mediaType, bytes } of result.artifacts)
      members.push({ path: `artifacts/${id}/${name}`, bytes, mediaType, role: "artifact" })
    const text = log.text()
    if (text !== "") members.push({ path: `logs/${id}.log`, bytes: Buffer.from(text), role: "log" })
    observed.set(id, { observation, members })
    await checkpoint.save(id, { observation, members })
  }
  return { observed, notObserved }
}

const tee = (log: BoundedLog, { log: outer }: Lab) => ({
  write: (line: string) => {
    log.write(line)
    outer.write(line)
  },
})

/** As many seeds as the policy asks for, derived from the challenge. */
export async function chooseSeeds(
  policy: PolicyDocument,
  evidence: StaticEvidence,
  challenge: string | null,
): Promise<number[]> {
  const { seeds } = requirementOf(policy, "seeded-determinism", evidence.declaration).thresholds
  return deriveSeeds(challenge, typeof seeds === "number" ? seeds : 4)
}

/** Which criteria are to be observed. @throws EvidenceError usage for an id that is not in the catalogue */
export function chooseCriteria(
  only: readonly string[],
  skip: readonly string[],
  known: readonly string[],
): (id: string) => boolean {
  const unknown = [...only, ...skip].find(id => !known.includes(id))
  if (unknown !== undefined)
    throw new EvidenceError("usage", `there is no criterion ${unknown}`, { hint: "emit-evidence criteria lists them." })
  return id => (only.length > 0 ? only.includes(id) : !skip.includes(id))
}

export const digestOf = async (bytes: Uint8Array): Promise<Digest> => digestOfHex(await sha256Hex(bytes))
