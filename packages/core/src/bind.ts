import type { AuthenticatedBundle } from "./authenticate.js"
import type { Binding, ExpectedSubject, OwnReading } from "./binding/binding.js"
import { bindPolicy, bindSbom, bindSnapshot, bindTexts, isSbomDerived } from "./binding/documents.js"
import { bindImage, imageFromSource, judgedPlatforms } from "./binding/image.js"
import { bindObservations, recomputePreviews } from "./binding/observations.js"
import {
  checkExpected,
  checkSubjects,
  describeExpected,
  expectedDigests,
  notNamed,
  wantedOf,
} from "./binding/subjects.js"
import type { EvidenceSource, JudgeContext, StaticEvidence } from "./criteria/criterion.js"
import type { Digest } from "./digest.js"
import { deriveSeeds } from "./environment/seeds.js"
import { EvidenceError } from "./errors.js"
import type { Observations } from "./judge.js"
import { readDeclaration } from "./submission/declaration.js"

export type { Binding, ExpectedSubject, OwnReading } from "./binding/binding.js"

declare const bound: unique symbol

/** Authenticated evidence whose parts belong together and to the expected subject. Only `bind` makes one. */
export interface BoundEvidence extends StaticEvidence, Observations {
  readonly [bound]: true
  readonly authenticated: AuthenticatedBundle
  readonly bindings: readonly Binding[]
  /** Sources that the verifier recomputed from bytes that hash to a subject. */
  readonly derived: ReadonlySet<EvidenceSource>
  readonly context: Omit<JudgeContext, "signature">
}

/**
 * SPEC.md, step 3.
 *
 * @throws BindingError with exit code 6; with 4 where an inventory or the image's own documents are malformed
 */
export async function bind(
  authenticated: AuthenticatedBundle,
  expected: ExpectedSubject,
  own: OwnReading = {},
): Promise<BoundEvidence> {
  const bindings: Binding[] = []
  const { predicate, bundle } = authenticated
  const step = async <T>(id: string, check: () => T | Promise<T>, because: (result: T) => string): Promise<T> => {
    try {
      const result = await check()
      bindings.push({ id, outcome: "holds", because: because(result) })
      return result
    } catch (error) {
      throw error instanceof EvidenceError ? new BindingError(error, id, bindings) : error
    }
  }
  await step(
    "subjects",
    () => checkSubjects(authenticated),
    () => "the statement is about this image, this submission and this manifest.json",
  )
  const told = expectedDigests(expected)
  for (const subject of ["image", "submission"] as const) {
    if (wantedOf(told, subject) === undefined) bindings.push(notNamed(subject, expected))
    else
      await step(
        `expected-${subject}`,
        () => checkExpected(authenticated, subject, told),
        () => describeExpected(told, subject),
      )
  }
  const image = await step(
    "image",
    () => bindImage(authenticated, own),
    ({ layers }) => describeImage(layers.length, own),
  )
  await step(
    "submission",
    () => bindTexts(authenticated),
    () => "openenv.yaml and the Dockerfile hash to the submission's list of files",
  )
  await step(
    "snapshot",
    () => bindSnapshot(authenticated),
    () => "the host snapshot is the one that was signed",
  )
  await step(
    "policy",
    () => bindPolicy(authenticated),
    () => `previewed under policy ${predicate.policy.id}/${predicate.policy.version}`,
  )
  const sbom = await step(
    "sbom",
    () => bindSbom(authenticated, own),
    found => (found === null ? "there is no SBOM" : "the SBOM is the one that was signed"),
  )
  const evidence: StaticEvidence = { image, declaration: readDeclaration(bundle.submission.texts), sbom }
  const observations = await step(
    "observations",
    () => bindObservations(authenticated, evidence),
    () => "each observation is the one that was signed; static ones were derived again and agree",
  )
  const context = await contextOf(authenticated)
  await step(
    "previews",
    () => recomputePreviews(authenticated, evidence, observations, context),
    () => "each preview was judged again under the contributor's policy and agrees",
  )
  bindings.push(imageFromSource(authenticated), judgedPlatforms(authenticated, own))
  const result: Omit<BoundEvidence, typeof bound> = {
    ...evidence,
    ...observations,
    authenticated,
    bindings,
    derived: await derivedSources(own, sbom),
    context,
  }
  return result as BoundEvidence
}

/** A refusal while binding: which binding broke, and what held before it. */
export class BindingError extends EvidenceError {
  readonly bindings: readonly Binding[]

  constructor(refusal: EvidenceError, id: string, held: readonly Binding[]) {
    const hint = refusal.hint === undefined ? {} : { hint: refusal.hint }
    super(refusal.code, refusal.message, { cause: refusal, ...hint })
    this.bindings = [...held, { id, outcome: "broken", because: refusal.message }]
  }
}

const describeImage = (layers: number, own: OwnReading): string =>
  `manifest, config and the inventories of ${layers} layers belong together${own.layers === undefined ? "" : ", and the layers read here hold what the inventories say"}`

async function contextOf({ predicate }: AuthenticatedBundle): Promise<BoundEvidence["context"]> {
  return {
    imageDigest: predicate.image.digest as Digest,
    configDigest: predicate.image.configDigest as Digest,
    sbomDigest: (predicate.sbom?.digest ?? null) as Digest | null,
    builtFromSubmission: predicate.image.builtFromSubmission,
    seeds: await deriveSeeds(predicate.challenge),
  }
}

async function derivedSources(own: OwnReading, sbom: StaticEvidence["sbom"]): Promise<ReadonlySet<EvidenceSource>> {
  const derived: EvidenceSource[] = ["image-config", "submission-texts"]
  if (own.layers !== undefined) derived.push("image-layers")
  if (await isSbomDerived(sbom, own)) derived.push("sbom")
  return new Set(derived)
}
