import { catalogue, choosePolicy, isJudged } from "@envidence/core"
import type { EmitArguments } from "./arguments.js"
import { readPolicyFile } from "./emit.js"
import { chooseCriteria } from "./observe.js"

/** `--dry-run`: what a run would do, in sentences. @throws EvidenceError */
export async function describePlan(told: EmitArguments): Promise<string> {
  const policy = await choosePolicy(told.policy, readPolicyFile)
  const wants = chooseCriteria(
    told.only,
    told.skip,
    catalogue.map(row => row.id),
  )
  const judged = catalogue.filter(isJudged)
  const named = (rows: typeof judged) => rows.map(row => row.id).join(", ") || "none"
  return [
    `submission  ${told.input}`,
    `image       ${told.image ?? `built twice, network ${told.buildNetwork}`}`,
    `policy      ${policy.id}/${policy.version}`,
    `observe     ${named(judged.filter(row => wants(row.id)))}`,
    `skip        ${named(judged.filter(row => !wants(row.id)))}`,
    `output      ${told.output}`,
  ]
    .map(line => `${line}\n`)
    .join("")
}
