import { sha256Digest } from "../digest.js"
import { canonicalJsonBytes } from "../json.js"
import { archiveFreeLayout } from "./archive-free-layout.js"
import { compositionInspection } from "./composition-inspection.js"
import type { CatalogueRow, Criterion } from "./criterion.js"
import { layerChangeIsolation } from "./layer-change-isolation.js"
import { multiStageHygiene } from "./multi-stage-hygiene.js"
import { ociLabels } from "./oci-labels.js"
import { planned } from "./planned.js"
import { reproducibleBuild } from "./reproducible-build.js"
import { resourceDeclarations } from "./resource-declarations.js"
import { seededDeterminism } from "./seeded-determinism.js"
import { signatureAndSbom } from "./signature-and-sbom.js"

/** The catalogue, in report order: the eleven criteria of the RFC, then ours. */
export const catalogue: readonly (Criterion | CatalogueRow)[] = [
  reproducibleBuild,
  layerChangeIsolation,
  multiStageHygiene,
  archiveFreeLayout,
  planned["conversion-clean"],
  planned["time-to-first-useful-work"],
  compositionInspection,
  signatureAndSbom,
  ociLabels,
  resourceDeclarations,
  planned["periodic-learnability"],
  planned["session-scaling"],
  seededDeterminism,
  planned["reward-integrity"],
  planned["oci-runtime-conformance"],
  planned["runtime-isolation"],
  planned["runtime-drift"],
  planned["gpu-workload"],
]

export const CATALOGUE_VERSION = "1"

export const isJudged = (row: Criterion | CatalogueRow): row is Criterion => "judge" in row

/** The criteria that this version judges, by id. */
export const criteria: ReadonlyMap<string, Criterion> = new Map(catalogue.filter(isJudged).map(row => [row.id, row]))

/** Digest of what the catalogue demands: ids, revisions, requirements and thresholds, in canonical JSON. */
export const catalogueDigest = () =>
  sha256Digest(
    canonicalJsonBytes(
      catalogue.map(row => ({
        id: row.id,
        requirement: row.requirement,
        ...(isJudged(row) ? { revision: row.revision, thresholds: describeThresholds(row) } : { revision: 0 }),
      })),
    ),
  )

const describeThresholds = (criterion: Criterion) =>
  Object.fromEntries(
    Object.entries(criterion.thresholds).map(([name, { default: value, unit, bound }]) => [
      name,
      { value, unit, bound },
    ]),
  )
