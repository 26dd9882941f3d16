import { readFile } from "node:fs/promises"
import {
  catalogue,
  choosePolicy,
  describeFailure,
  type ErrorCode,
  EvidenceError,
  escapeTerminal,
  exitCodeOf,
  explanations,
  renderReport,
} from "@envidence/core"
import { writeFileAtomically } from "@envidence/oci"
import { parseArguments, type VerifyArguments } from "./arguments.js"
import { renderInspection } from "./inspection.js"
import { inspectBundle, readPolicyFile, verifyBundle } from "./verify.js"
import type { World } from "./world.js"

/** Runs `verify-evidence` and returns its exit code. */
export async function main(argv: readonly string[], world: World): Promise<number> {
  try {
    const parsed = await parseArguments(argv, await ownVersion())
    if ("text" in parsed) {
      world.stdout(parsed.text)
      return 0
    }
    return await run(parsed.arguments, world)
  } catch (error) {
    const { exitCode, text } = describeFailure("verify-evidence", error, argv.includes("--verbose"))
    world.stderr(text)
    return exitCode
  }
}

async function run(told: VerifyArguments, world: World): Promise<number> {
  const [input = ""] = told.inputs
  switch (told.command) {
    case "explain":
      world.stdout(explain(input))
      return 0
    case "inspect":
      world.stdout(renderInspection(await inspectBundle(input, world)))
      return 0
    case "policy":
      world.stdout(await explainPolicy(input))
      return 0
    case "verify": {
      const report = await verifyBundle(told, world)
      for (const { format, file } of told.reports) {
        const text = renderReport(report, format)
        if (file === null) world.stdout(text)
        else await writeReport(file, text)
      }
      return report.exitCode
    }
  }
}

async function writeReport(file: string, text: string): Promise<void> {
  try {
    await writeFileAtomically(file, text)
  } catch (cause) {
    const because = (cause as { code?: unknown } | null)?.code ?? cause
    throw new EvidenceError("usage", `the report cannot be written to ${file}: ${String(because)}`, { cause })
  }
}

function explain(code: string): string {
  if (!Object.hasOwn(explanations, code))
    throw new EvidenceError("usage", `there is no error code ${code}`, {
      hint: `Codes: ${Object.keys(explanations).join(", ")}`,
    })
  return `${code} (exit ${exitCodeOf[code as ErrorCode]})\n${explanations[code as ErrorCode]}\n`
}

async function explainPolicy(file: string): Promise<string> {
  const policy = await choosePolicy(file, readPolicyFile)
  const lines = catalogue.map(({ id, requirement }) => {
    const rule = policy.criteria[id]
    const when =
      rule?.required === true ? "required" : rule?.requiredWhen ? `required when ${rule.requiredWhen}` : "not required"
    return `${id} is ${when}: ${requirement}`
  })
  const signers = (policy.signers ?? []).map(signer =>
    "identity" in signer
      ? `accepts ${signer.identity} of ${signer.issuer}`
      : `accepts the key sha256:${signer.keySha256}`,
  )
  const exceptions = Object.entries(policy.criteria).flatMap(([id, rule]) =>
    (rule.exceptions ?? []).map(
      ({ path, sha256, reason }) => `excepts ${path} (${sha256 ?? "a folder or link"}) from ${id}: ${reason}`,
    ),
  )
  const age =
    policy.maxAgeDays === undefined
      ? "any age is accepted"
      : `no signature older than ${policy.maxAgeDays} days is accepted`
  const who = signers.length === 0 ? ["names no signer: the command line must"] : signers
  return [`Policy ${policy.id}/${policy.version} is valid.`, ...lines, ...exceptions, ...who, age]
    .map(line => `${escapeTerminal(line)}\n`)
    .join("")
}

async function ownVersion(): Promise<string> {
  const text = await readFile(new URL("../package.json", import.meta.url), "utf8")
  return (JSON.parse(text) as { version: string }).version
}
