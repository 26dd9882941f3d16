import {
  catalogue,
  type ErrorCode,
  EvidenceError,
  escapeTerminal,
  exitCodeOf,
  explanations,
  type Report,
  renderMarkdown,
  renderText,
} from "@envidence/core"
import { parseArguments, type ReportFormat, type VerifyArguments } from "./arguments.js"
import { renderInspection } from "./inspection.js"
import { readPolicy } from "./policy-file.js"
import { inspectBundle, verifyBundle } from "./verify.js"
import { ownVersion, type World, writeAtomically } from "./world.js"

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
    return reportFailure(error, argv.includes("--verbose"), world)
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
        const text = render(report, format)
        if (file === null) world.stdout(text)
        else await writeAtomically(file, text)
      }
      return report.exitCode
    }
  }
}

function render(report: Report, format: ReportFormat): string {
  switch (format) {
    case "text":
      return renderText(report)
    case "json":
      return `${JSON.stringify(report, null, 2)}\n`
    case "markdown":
      return renderMarkdown(report)
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
  const policy = await readPolicy(file)
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
  const age =
    policy.maxAgeDays === undefined
      ? "any age is accepted"
      : `no signature older than ${policy.maxAgeDays} days is accepted`
  const who = signers.length === 0 ? ["names no signer: the command line must"] : signers
  return [`Policy ${policy.id}/${policy.version} is valid.`, ...lines, ...who, age]
    .map(line => `${escapeTerminal(line)}\n`)
    .join("")
}

function reportFailure(error: unknown, verbose: boolean, world: World): number {
  const known =
    error instanceof EvidenceError
      ? error
      : new EvidenceError("internal", `unexpected failure: ${String(error)}`, { cause: error })
  world.stderr(`verify-evidence: ${escapeTerminal(known.message)} [${known.code}]\n`)
  if (known.hint !== undefined) world.stderr(`${escapeTerminal(known.hint)}\n`)
  if (verbose) world.stderr(`${traceOf(known)}\n`)
  return known.exitCode
}

function traceOf(error: Error): string {
  const cause = error.cause instanceof Error ? `\ncaused by ${traceOf(error.cause)}` : ""
  return `${error.stack ?? error.message}${cause}`
}
