import {
  type AuthenticatedBundle,
  authenticate,
  BindingError,
  bind,
  buildReport,
  choosePolicy,
  EvidenceError,
  limits,
  type PolicyDocument,
  type Report,
  type ReportFacts,
  readBundle,
  rejudge,
  type UntrustedBundle,
} from "@envidence/core"
import { nodeCompression, readBoundedFile, readBoundedStream } from "@envidence/oci"
import { UntrustedSignerError } from "@envidence/trust"
import type { VerifyArguments } from "./arguments.js"
import { readTrust, type Trust } from "./signers.js"
import { demandSubject, readSubject } from "./subject.js"
import type { World } from "./world.js"

/**
 * Verifies one bundle in SPEC.md's order: read, authenticate, bind, judge. The first step that refuses ends it.
 *
 * @throws EvidenceError only for wrong usage and missing inputs (2), and where nothing could be decided (1); every refusal
 * of the bundle itself is a report
 */
export async function verifyBundle(told: VerifyArguments, world: World): Promise<Report> {
  demandSubject(told)
  const policy = await choosePolicy(told.policy, readPolicyFile)
  const trust = await readTrust(told, policy)
  const { policySignersSetAside } = trust
  const known: Known = {
    policy,
    expectedChallenge: told.challenge ?? null,
    trustedRootSha256: null,
    policySignersSetAside,
  }
  try {
    await runSteps(told, policy, trust, world, known)
  } catch (error) {
    if (!(error instanceof EvidenceError)) throw error
    if (error.exitCode < 3) throw error
    known.error = error
    if (error instanceof UntrustedSignerError) known.refusedSigner = error.signer
    if (error instanceof BindingError) known.bindings = error.bindings
  }
  known.trustedRootSha256 = trust.trustedRootSha256()
  return buildReport(known)
}

type Known = { -readonly [K in keyof ReportFacts]: ReportFacts[K] }

async function runSteps(
  told: VerifyArguments,
  policy: PolicyDocument,
  trust: Trust,
  world: World,
  known: Known,
): Promise<void> {
  const packed = await readInput(told.inputs[0] ?? "-", world)
  const bundle = await readBundle(packed, nodeCompression)
  known.bundle = bundle
  const authenticated = await authenticate(bundle, trust.authenticator)
  known.authenticated = authenticated
  checkFreshness(authenticated, told, policy, world.now())
  const { expected, own } = await readSubject(told, authenticated, world)
  known.bound = await bind(authenticated, expected, own)
  known.findings = rejudge(known.bound, policy)
}

const readInput = (input: string, world: World): Promise<Uint8Array> =>
  input === "-"
    ? readBoundedStream(world.stdin(), "standard input", limits.packedBytes)
    : readBoundedFile(input, limits.packedBytes)

const POLICY_BYTES = 1_000_000

export const readPolicyFile = (file: string): Promise<Uint8Array> => readBoundedFile(file, POLICY_BYTES)

const DAY_MS = 86_400_000

/** Challenge and age: only what is signed, and only trusted time. */
function checkFreshness(
  { predicate, signedAt }: AuthenticatedBundle,
  { challenge, maxAgeDays }: VerifyArguments,
  policy: PolicyDocument,
  now: Date,
): void {
  if (challenge !== undefined && predicate.challenge !== challenge)
    throw new EvidenceError(
      "challenge-mismatch",
      `expected challenge ${challenge}, found ${predicate.challenge ?? "none"}`,
    )
  const limit = Math.min(maxAgeDays ?? Number.POSITIVE_INFINITY, policy.maxAgeDays ?? Number.POSITIVE_INFINITY)
  if (!Number.isFinite(limit)) return
  if (signedAt === null)
    throw new EvidenceError("no-trusted-time", "an age is demanded and nothing proves when it was signed")
  const age = (now.getTime() - Date.parse(signedAt)) / DAY_MS
  if (age > limit) throw new EvidenceError("too-old", `signed ${signedAt}, more than ${limit} days ago`)
}

/** Reads a bundle without checking any signature. @throws EvidenceError */
export async function inspectBundle(input: string, world: World): Promise<UntrustedBundle> {
  const packed = await readInput(input, world)
  try {
    return await readBundle(packed, nodeCompression)
  } catch (cause) {
    if (!(cause instanceof EvidenceError)) throw cause
    const hint = cause.hint === undefined ? {} : { hint: cause.hint }
    const named = input === "-" ? "standard input" : input
    throw new EvidenceError(cause.code, `${named}: ${cause.message}`, { cause, ...hint })
  }
}
