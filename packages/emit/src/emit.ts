import { lstat, stat } from "node:fs/promises"
import { dirname } from "node:path"
import {
  assembleBundle,
  buildCheckReport,
  catalogue,
  choosePolicy,
  deriveSeeds,
  EvidenceError,
  isAccepted,
  isJudged,
  type JudgeContext,
  type PolicyDocument,
  packSigned,
  packUnsigned,
  preview,
  type Report,
  sha256Hex,
  type UnsignedState,
} from "@envidence/core"
import { nodeCompression, readBoundedFile, writeFileAtomically } from "@envidence/oci"
import type { EmitArguments } from "./arguments.js"
import { type Checkpoint, noCheckpoint, openCheckpoint } from "./checkpoint.js"
import { copyLayout } from "./image.js"
import { BoundedLog, type Log } from "./lab/log.js"
import { chooseCriteria, chooseSeeds, type Observed, type ObservedAll, observeOnLab, observeStatic } from "./observe.js"
import { type Progress, startProgress } from "./progress.js"
import { type Run, withRun } from "./run.js"
import { planSigning, SIGNING_HINT, type SigningPlan } from "./signing.js"
import { takeSnapshot } from "./snapshot.js"
import { commonMembers, predicateFacts, type StatementInput } from "./statement.js"
import type { World } from "./world.js"

export interface WrittenBundle {
  readonly path: string
  readonly sha256: string
  readonly signed: boolean
  /** SHA-256 of the statement: what `sign --expect-digest` takes. */
  readonly statement: string
}

export interface EmitResult {
  readonly exitCode: number
  readonly report: Report
  readonly bundle: WrittenBundle
}

const POLICY_BYTES = 1_000_000

export const readPolicyFile = (file: string): Promise<Uint8Array> => readBoundedFile(file, POLICY_BYTES)

/** What a run writes to; with --verbose the user sees it too. */
export const openLog = (told: EmitArguments, { stderr }: World): Log =>
  new BoundedLog(told.verbose ? { echo: line => stderr(`  | ${line}\n`) } : {})

/**
 * The whole of `emit-evidence SUBMISSION`: stage, build, observe, preview, sign, write.
 *
 * @throws EvidenceError; the bundle is written whole or not at all
 */
export async function emitEvidence(told: EmitArguments, world: World, toolVersion: string): Promise<EmitResult> {
  const startedAt = world.now()
  const policy = await choosePolicy(told.policy, readPolicyFile)
  const wants = chooseCriteria(
    told.only,
    told.skip,
    catalogue.map(row => row.id),
  )
  const plan = await planSigning(told.signing, world.env)
  await demandWritable(outputOf(told, plan), told.force)
  if (told.imageOutput !== undefined) await demandFree(told.imageOutput, told.force)
  if (plan.kind === "undecided") world.stderr(announceUnsigned(outputOf(told, plan)))
  const progress = startProgress(told.progress, world)
  const tools = {
    progress,
    log: openLog(told, world),
    openCheckpoint: async (submission: Run["submission"], given: string | null): Promise<Checkpoint> =>
      told.workDirectory === undefined
        ? noCheckpoint
        : openCheckpoint(told.workDirectory, stateOf(told, policy, submission.digest, given, toolVersion), told.resume),
  }
  return withRun(told, world, tools, async (run, checkpoint) => {
    const observations = await observe(run, checkpoint, progress, wants, policy, told)
    const snapshot = await takeSnapshot({ env: world.env, engine: run.engine, nodeVersion: world.nodeVersion })
    const { report, findings } = await previewReport(run, observations, policy, told)
    const input = {
      told,
      run,
      policy,
      snapshot,
      observations,
      previews: findings,
      toolVersion,
      startedAt,
      finishedAt: world.now(),
    }
    const state = await assemble(input)
    const bundle = await finish(state, plan, told, progress)
    if (told.imageOutput !== undefined) await copyLayout(run.image.layout, told.imageOutput)
    return { exitCode: isAccepted(findings) ? 0 : 3, report, bundle }
  })
}

/** Whatever changes one of these makes earlier observations worthless. */
const stateOf = (
  told: EmitArguments,
  policy: PolicyDocument,
  submission: string,
  image: string | null,
  toolVersion: string,
) => ({
  toolVersion,
  submission,
  policy,
  image,
  buildArgs: told.buildArgs,
  buildNetwork: told.buildNetwork,
  challenge: told.challenge,
})

async function observe(
  run: Run,
  checkpoint: Checkpoint,
  progress: Progress,
  wants: (id: string) => boolean,
  policy: PolicyDocument,
  told: EmitArguments,
): Promise<ObservedAll> {
  const seeds = await chooseSeeds(policy, run.read.evidence, told.challenge)
  const measured = await observeOnLab({ ...run.lab, seeds }, checkpoint, progress, wants)
  const observed = new Map<string, Observed>(measured.observed)
  for (const each of observeStatic(run.read.evidence, wants)) observed.set(each.observation.criterion, each)
  const notObserved = new Map(measured.notObserved)
  for (const { id } of catalogue.filter(isJudged))
    if (!wants(id)) notObserved.set(id, { skippedByContributor: true, because: "skipped by the contributor" })
  return { observed, notObserved }
}

async function previewReport(
  { read, submission, image, bindings }: Run,
  all: ObservedAll,
  policy: PolicyDocument,
  told: EmitArguments,
) {
  const context: Omit<JudgeContext, "signature"> = {
    imageDigest: read.layout.manifestDigest,
    configDigest: read.layout.configDigest,
    sbomDigest: read.evidence.sbom?.digest ?? null,
    builtFromSubmission: image.build !== null,
    seeds: await deriveSeeds(told.challenge),
  }
  const observations = new Map([...all.observed].map(([id, { observation }]) => [id, observation]))
  const evidence = { observations, notObserved: all.notObserved }
  const findings = preview(evidence, submission.declaration, policy, context)
  return {
    findings,
    report: await buildCheckReport(findings, policy, submission.declaration, submission.digest, bindings),
  }
}

async function assemble(input: StatementInput): Promise<UnsignedState> {
  const { run, observations } = input
  const own = [...observations.observed.values()].flatMap(({ members }) => members)
  const members = [...commonMembers(input), ...run.read.members, ...own]
  return assembleBundle(members, await predicateFacts(input), run.submission.digest)
}

const UNSIGNED = ".unsigned.tar.gz"

/** Where the bundle goes: an unsigned one never has the name of a signed one. */
export function outputOf({ output }: EmitArguments, plan: SigningPlan): string {
  return plan.kind === "sign" ? output : unsignedName(output)
}

export const unsignedName = (output: string): string =>
  output.endsWith(UNSIGNED) ? output : `${output.replace(/\.tar\.gz$/, "")}${UNSIGNED}`

async function finish(
  state: UnsignedState,
  plan: SigningPlan,
  told: EmitArguments,
  progress: Progress,
): Promise<WrittenBundle> {
  const statement = await sha256Hex(state.statement)
  const write = async (path: string, bytes: Uint8Array, signed: boolean): Promise<WrittenBundle> => {
    await writeFileAtomically(path, bytes)
    return { path, sha256: await sha256Hex(bytes), signed, statement }
  }
  const keepUnsigned = async () => write(unsignedName(told.output), await packUnsigned(state, nodeCompression), false)
  if (plan.kind !== "sign") return keepUnsigned()
  try {
    const attestation = await progress.step(`signing ${plan.by}`, 2, () => plan.signer(state.statement))
    return await write(told.output, await packSigned(state, attestation, nodeCompression), true)
  } catch (error) {
    // Hours of observing must not be lost to a service that is down.
    const kept = await keepUnsigned()
    if (!(error instanceof EvidenceError)) throw error
    throw new EvidenceError(error.code, error.message, {
      cause: error,
      hint: `The unsigned bundle is kept: emit-evidence sign ${kept.path} --expect-digest ${kept.statement}`,
    })
  }
}

/** Before the work, not after it. @throws EvidenceError usage where the bundle could not be written to `path` */
export async function demandWritable(path: string, force: boolean): Promise<void> {
  const folder = dirname(path)
  if ((await stat(folder).catch(() => undefined))?.isDirectory() !== true)
    throw new EvidenceError("usage", `${path} cannot be written: there is no folder ${folder}`)
  await demandFree(path, force)
}

/** @throws EvidenceError usage where `path` exists and may not be replaced */
async function demandFree(path: string, force: boolean): Promise<void> {
  if (force || (await lstat(path).catch(() => undefined)) === undefined) return
  throw new EvidenceError("usage", `${path} exists`, { hint: "Choose another name, or replace it with --force." })
}

// Before the minutes of work: whoever wanted a signature can stop now.
const announceUnsigned = (path: string): string =>
  `nobody said how to sign: the bundle will be unsigned, ${path}, and the exit code 2\n${SIGNING_HINT}\n`

export function undecidedSigning({ bundle, exitCode }: EmitResult): EvidenceError {
  const preview = exitCode === 0 ? "every required criterion passes" : "not every required criterion passes"
  return new EvidenceError(
    "signing-not-chosen",
    `nobody said how to sign; ${bundle.path} is written, unsigned; in its preview ${preview}`,
    { hint: SIGNING_HINT },
  )
}
