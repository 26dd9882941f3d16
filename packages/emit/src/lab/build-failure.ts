import { EvidenceError } from "@envidence/core"
import type { BuildRequest } from "./engine.js"
import { redactLine } from "./log.js"
import type { ProcessResult } from "./process.js"

const LINES_SHOWN = 5
const LINE_SHOWN = 200

/** Why a build ended: what is wrong with the Dockerfile is `build-failed`, what is wrong here stays `engine-failed`. */
export function buildFailure({ tail, exitCode }: ProcessResult, request: BuildRequest): EvidenceError {
  const lines = tail.flatMap(line => tidyLine(line, request.contextDirectory))
  const said = lines.findLast(line => line.startsWith("Error: "))?.slice("Error: ".length) ?? ""
  const from = lines.findLast(line => STEP_FROM.test(line))
  if (isMissingImage(said)) return missingImage(STEP_FROM.exec(from ?? "")?.[1] ?? "of FROM", [said])
  if (isEngineTrouble(said, lines)) return engineTrouble(said === "" ? (lines.at(-1) ?? `exit code ${exitCode}`) : said)
  const [step, why] = splitStep(said, lines)
  if (step === undefined && !SYNTAX.test(said)) return engineTrouble(said)
  const output = lines.filter(line => !NOISE.test(line)).slice(-LINES_SHOWN)
  const last = output.length === 0 ? "" : `; its last lines: ${output.map(shortened).join(" | ")}`
  const where = step === undefined ? "" : ` at ${shortened(step.trim())}`
  return new EvidenceError("build-failed", `${request.dockerfile} does not build${where}: ${shortened(why)}${last}`, {
    hint: "Correct the Dockerfile at this step; --verbose shows the whole build.",
  })
}

/** The step and what was wrong with it. A step may hold what looks like its own end, so the last one shown is tried first. */
function splitStep(said: string, lines: readonly string[]): readonly [step: string | undefined, why: string] {
  const step = lines.findLast(line => STEP.test(line))?.replace(STEP, "")
  const head = `building at STEP "${step}": `
  if (step !== undefined && said.includes(head)) return [step, said.slice(said.indexOf(head) + head.length)]
  const [, found, why = said] = STEP_FAILED.exec(said) ?? []
  return [found, why]
}

/** A base image that neither this machine nor a registry has. */
export function missingImage(reference: string, tail: readonly string[]): EvidenceError {
  const isExample = reference.startsWith("localhost/envidence-example-base")
  const said = shortened(redactLine(tail.at(-1) ?? "").replace(/^Error: /, ""))
  const message = `the base image ${reference} is not on this machine and no registry gave it`
  return new EvidenceError("build-failed", isExample || said === "" ? message : `${message} (${said})`, {
    hint: isExample
      ? "Make it with `npm run example-base`."
      : "Check its name, and that this machine reaches the registry.",
  })
}

const engineTrouble = (said: string) => new EvidenceError("engine-failed", `podman build: ${said.slice(0, 400)}`)

const shortened = (line: string) => (line.length > LINE_SHOWN ? `${line.slice(0, LINE_SHOWN)}…` : line)

const STEP = /^(?:\[\d+\/\d+\] )?STEP \d+\/\d+: /
const STEP_FROM = /^(?:\[\d+\/\d+\] )?STEP \d+\/\d+: FROM (\S+)/
const STEP_FAILED = /^(?:error )?building at STEP "(.*?)": (.*)$/
const SYNTAX = /^(?:error )?(?:parsing |no FROM statement|FROM requires|no contents in |reading multiple stages)/
// What the builder itself says between a step's own lines.
const NOISE = /^(?:\[\d+\/\d+\] )?(?:STEP \d+\/\d+: |COMMIT\b|--> |Error: |: exit status |time="[^"]*" level=)/

const isMissingImage = (said: string) =>
  /^(?:error )?creating build container: |\bshort-name .* did not resolve|\bpinging container registry |\bmanifest unknown\b/.test(
    said,
  )

/** The machine's trouble, not the Dockerfile's: where the runtime fails for another reason than a missing program. */
function isEngineTrouble(said: string, lines: readonly string[]): boolean {
  if (/no space left on device|quota exceeded|cannot allocate memory|too many open files/i.test(said)) return true
  const runtime = lines.findLast(line => /^error running container: .* creating container for /.test(line))
  return runtime !== undefined && !/exec: |executable file|no such file or directory/.test(runtime)
}

// The builder prints its own structures, and paths of a folder that is gone when the message is read.
function tidyLine(line: string, contextDirectory: string): string[] {
  const text = redactLine(line)
    .replaceAll(`"${contextDirectory}"`, "the submission")
    .replaceAll(`${contextDirectory}/`, "")
    .replaceAll(contextDirectory, "the submission")
    .replace(/ ?&imagebuilder\.Step\{.*/, "")
  return text.trim() === "" ? [] : [text]
}
