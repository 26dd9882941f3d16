import type { Lab } from "../lab/lab.js"

/** A file for the bundle, below artifacts/<criterion>/. */
export interface Artifact {
  readonly name: string
  readonly mediaType: string
  readonly bytes: Uint8Array
}

export type Measurement<Facts> =
  | { readonly facts: Facts; readonly artifacts: readonly Artifact[] }
  | { readonly unmeasured: string }

/** How a criterion is observed on a running lab. Judging what was seen is core's. */
export interface MeasuredCriterion<Id extends string, Facts> {
  readonly id: Id
  /** What it usually takes, for people who wait. */
  readonly estimateSeconds: number
  /** @throws EvidenceError engine-failed, interrupted. What is wrong with the submission is part of the facts. */
  measure(lab: Lab): Promise<Measurement<Facts>>
}

export const defineMeasuredCriterion = <Id extends string, Facts>(
  criterion: MeasuredCriterion<Id, Facts>,
): MeasuredCriterion<Id, Facts> => criterion
