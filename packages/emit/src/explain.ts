import { type CatalogueRow, type Criterion, catalogue, EvidenceError, isJudged, wrapBeside } from "@envidence/core"

/** `emit-evidence criteria [ID]`. @throws EvidenceError usage for an unknown id */
export function explainCriteria(id: string): string {
  if (id === "")
    return catalogue
      .map(row => `${row.id}${isJudged(row) ? "" : " (not observed by this version)"}\n    ${row.requirement}\n`)
      .join("")
  const row = catalogue.find(candidate => candidate.id === id)
  if (row === undefined)
    throw new EvidenceError("usage", `there is no criterion ${id}`, { hint: "emit-evidence criteria lists them." })
  return isJudged(row) ? explainJudged(row) : explainPlanned(row)
}

const COLUMN = 14

const explainPlanned = ({ id, requirement }: CatalogueRow): string =>
  `${id}\n${requirement}\nThis version does not observe it: it is unmeasured, and unmeasured never passes.\n`

function explainJudged(criterion: Criterion): string {
  const { id, revision, requirement, thresholds, inspect, upstream, takesExceptions } = criterion
  const how =
    inspect === null ? "Observed while the environment is built or run." : "Derived from the bundle's own bytes."
  const also = upstream.length === 0 ? [] : [`In OpenEnv's report: ${upstream.join(", ")}`]
  const limits = Object.entries(thresholds).flatMap(([name, { default: value, unit, bound, reason }]) => [
    `  ${name}`,
    ...wrapBeside("    default", [value].flat().join(", "), COLUMN),
    ...wrapBeside("    unit", unit, COLUMN),
    ...wrapBeside("    a policy", `may set ${bound}`, COLUMN),
    ...wrapBeside("    because", reason, COLUMN),
  ])
  const exceptions = takesExceptions
    ? ["A policy may except single files from it, by path and digest (SPEC.md, step 4)."]
    : []
  const text = [requirement, how, ...also, ...exceptions].flatMap(line => wrapBeside("", line, 2))
  return `${[`${id}, revision ${revision}`, ...text, ...(limits.length > 0 ? ["Thresholds:", ...limits] : [])].join("\n")}\n`
}
