import { readFile } from "node:fs/promises"
import { describeFailure, type Report, renderReport } from "@envidence/core"
import { type EmitArguments, parseArguments } from "./arguments.js"
import { checkSubmission } from "./check.js"
import { diagnose } from "./doctor.js"
import { type EmitResult, emitEvidence, undecidedSigning, type WrittenBundle } from "./emit.js"
import { explainCriteria } from "./explain.js"
import { describePlan } from "./plan.js"
import { signBundle } from "./sign.js"
import { takeSnapshot } from "./snapshot.js"
import type { World } from "./world.js"

/** Runs `emit-evidence` and returns its exit code. */
export async function main(argv: readonly string[], world: World): Promise<number> {
  try {
    const version = await ownVersion()
    const parsed = await parseArguments(argv, version)
    if ("text" in parsed) {
      world.stdout(parsed.text)
      return 0
    }
    return await run(parsed.arguments, world, version)
  } catch (error) {
    const { exitCode, text } = describeFailure("emit-evidence", error, argv.includes("--verbose"))
    world.stderr(text)
    return exitCode
  }
}

async function run(told: EmitArguments, world: World, version: string): Promise<number> {
  switch (told.command) {
    case "emit":
      return told.dryRun
        ? print(await describePlan(told, world), world)
        : reportEmit(await emitEvidence(told, world, version), told, world)
    case "check":
      return reportCheck(await checkSubmission(told, world), told, world)
    case "sign":
      return print(describeBundle(await signBundle(told, world)), world)
    case "snapshot":
      return print(
        `${JSON.stringify(await takeSnapshot({ env: world.env, engine: null, nodeVersion: world.nodeVersion }), null, 2)}\n`,
        world,
      )
    case "criteria":
      return print(explainCriteria(told.input), world)
    case "doctor": {
      const { text, exitCode } = await diagnose(told, world)
      world.stdout(text)
      return exitCode
    }
  }
}

function print(text: string, world: World): number {
  world.stdout(text)
  return 0
}

function reportCheck(report: Report, told: EmitArguments, world: World): number {
  world.stdout(renderReport(report, told.format))
  return report.exitCode
}

function reportEmit(result: EmitResult, told: EmitArguments, world: World): number {
  const { report, exitCode, bundle } = result
  const final = { ...report, exitCode } as Report
  if (told.format === "json") world.stdout(`${JSON.stringify({ ...final, bundle }, null, 2)}\n`)
  else world.stdout(renderReport(final, "text") + describeBundle(bundle))
  // Asked for with --no-sign, an unsigned bundle is what was wanted; else nobody said how to sign.
  if (!bundle.signed && told.signing.sign) throw undecidedSigning(result)
  return exitCode
}

const describeBundle = ({ path, sha256, signed, statement }: WrittenBundle): string =>
  `${signed ? "Signed" : "Unsigned"}  ${path}  sha256:${sha256}\n${signed ? "" : `Statement  sha256:${statement}\n`}`

async function ownVersion(): Promise<string> {
  const text = await readFile(new URL("../package.json", import.meta.url), "utf8")
  return (JSON.parse(text) as { version: string }).version
}
