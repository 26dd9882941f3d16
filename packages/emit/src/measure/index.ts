import { layerChangeIsolation } from "./layer-change-isolation.js"
import { reproducibleBuild } from "./reproducible-build.js"
import { seededDeterminism } from "./seeded-determinism.js"

export * from "./criterion.js"

/** Every criterion that is observed on a lab, in report order. */
export const measuredCriteria = [reproducibleBuild, layerChangeIsolation, seededDeterminism] as const
