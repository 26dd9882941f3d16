import { catalogue, choosePolicy, isJudged } from "@envidence/core"
import type { EmitArguments } from "./arguments.js"
import { outputOf, readPolicyFile } from "./emit.js"
import { chooseCriteria } from "./observe.js"
import { planSigning, type SigningPlan } from "./signing.js"
import type { World } from "./world.js"

/** `--dry-run`: what a run would do, in sentences. @throws EvidenceError */
export async function describePlan(told: EmitArguments, { env }: World): Promise<string> {
  const policy = await choosePolicy(told.policy, readPolicyFile)
  const wants = chooseCriteria(
    told.only,
    told.skip,
    catalogue.map(row => row.id),
  )
  const signing = await planSigning(told.signing, env)
  const judged = catalogue.filter(isJudged)
  const named = (rows: typeof judged) => rows.map(row => row.id).join(", ") || "none"
  return [
    `submission  ${told.input}`,
    `image       ${told.image ?? `built twice, network ${told.buildNetwork}`}`,
    `policy      ${policy.id}/${policy.version}`,
    `observe     ${named(judged.filter(row => wants(row.id)))}`,
    `skip        ${named(judged.filter(row => !wants(row.id)))}`,
    `sign        ${describeSigning(signing)}`,
    `output      ${outputOf(told, signing)}`,
  ]
    .map(line => `${line}\n`)
    .join("")
}

function describeSigning(plan: SigningPlan): string {
  if (plan.kind === "sign") return plan.by
  return plan.kind === "none" ? "not (--no-sign)" : "not: nobody said how, so the exit code is 2"
}
