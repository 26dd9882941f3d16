import type { Observation } from "./bundle/observation.js"
import {
  type CatalogueRow,
  type Criterion,
  type JudgeContext,
  type Judgement,
  unmeasured,
} from "./criteria/criterion.js"
import { isJudged } from "./criteria/index.js"
import type { Requirement } from "./policy.js"

export interface NotObserved {
  readonly skippedByContributor: boolean
  readonly because: string
}

/** What there is to judge: the observations, and for those that are missing the contributor's reason. */
export interface Observations {
  readonly observations: ReadonlyMap<string, Observation>
  readonly notObserved: ReadonlyMap<string, NotObserved>
}

/**
 * Judges one criterion. The only place where an outcome is decided: `emit` previews with it, `verify` recomputes that
 * preview and decides with it.
 */
export function judgeCriterion(
  row: Criterion | CatalogueRow,
  { observations, notObserved }: Observations,
  requirement: Requirement,
  context: JudgeContext,
): Judgement {
  if (!isJudged(row)) return unmeasured("this version does not observe it")
  const observation = observations.get(row.id)
  if (observation === undefined) {
    const reason = notObserved.get(row.id)
    if (reason?.skippedByContributor === true) return unmeasured("skipped by the contributor")
    return unmeasured(`not observed on that machine: ${reason?.because ?? "no reason given"}`)
  }
  const { revision } = observation
  if (revision > row.revision)
    return unmeasured(`observed at revision ${revision}: update, this version judges ${row.revision}`)
  if (revision < row.revision)
    return unmeasured(`observed at revision ${revision}, too old: this version judges ${row.revision}`)
  return row.judge(observation.facts, requirement.thresholds, context, requirement.exceptions)
}
